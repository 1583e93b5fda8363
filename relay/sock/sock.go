// SPDX-License-Identifier: Apache-2.0

// Package sock makes the sockets of a relay, with as few system calls and goroutines as that takes. It
// knows nothing of what they are used for.
package sock

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An Option is a socket option with an integer value.
type Option struct{ Level, Name, Value int }

// Set sets the option.
func (o Option) Set(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, o.Level, o.Name, o.Value))
}

// Common are options that every leg has: data goes out at once, and a peer that has vanished is found
// out. What a listener accepts inherits them.
var Common = []Option{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 120}, // seconds
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
}

// Listen opens a listener. Its options are set before it is bound, Common's too.
func Listen(ctx context.Context, network, address string, options ...Option) (net.Listener, error) {
	lc := net.ListenConfig{
		KeepAlive: -1, // Common has it, once for all
		Control: func(_, _ string, c syscall.RawConn) error {
			var inner error
			err := c.Control(func(fd uintptr) { inner = set(int(fd), Common, options) })
			return errors.Join(err, inner)
		},
	}
	// Multipath TCP has sockets of another kind, which can be neither spliced nor steered to.
	lc.SetMultipathTCP(false)
	return lc.Listen(ctx, network, address)
}

func set(fd int, lists ...[]Option) error {
	for _, list := range lists {
		for _, o := range list {
			if err := o.Set(fd); err != nil {
				return err
			}
		}
	}
	return nil
}

// Conn is a connected TCP socket.
type Conn struct {
	file   *os.File
	raw    syscall.RawConn
	remote netip.AddrPort
}

// Dial connects to remote, from local if that is valid. ctx bounds the attempt. The error is a
// *net.OpError.
func Dial(ctx context.Context, local, remote netip.AddrPort, options ...Option) (*Conn, error) {
	c, err := open(local, remote, options)
	if err == nil {
		if err = c.connected(ctx); err != nil {
			_ = c.Close()
		}
	}
	if err != nil {
		e := &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(remote), Err: err}
		if local.IsValid() {
			e.Source = net.TCPAddrFromAddrPort(local)
		}
		return nil, e
	}
	return c, nil
}

// open makes the socket and has it begin to connect.
func open(local, remote netip.AddrPort, options []Option) (*Conn, error) {
	family, to := address(remote)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = set(fd, options, Common)
	if err == nil && local.IsValid() {
		_, from := address(local)
		err = os.NewSyscallError("bind", unix.Bind(fd, from))
	}
	if err == nil {
		err = unix.Connect(fd, to)
		if errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EINTR) {
			err = nil
		}
		err = os.NewSyscallError("connect", err)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	c := &Conn{file: os.NewFile(uintptr(fd), "tcp"), remote: remote}
	if c.raw, err = c.file.SyscallConn(); err != nil {
		_ = c.file.Close()
		return nil, err
	}
	return c, nil
}

// past wakes whoever waits on a deadline.
var past = time.Unix(1, 0)

// connected waits for the connection to be there, or to have failed.
func (c *Conn) connected(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.file.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.file.SetWriteDeadline(past) })
	var failed error
	err := c.raw.Write(func(fd uintptr) (done bool) {
		done, failed = outcome(int(fd))
		return done
	})
	if err == nil {
		err = failed
	}
	if !stop() && err == nil {
		err = ctx.Err() // the deadline may be set to the past at any time
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return c.file.SetWriteDeadline(time.Time{})
}

// outcome asks a socket that connects how far it is.
func outcome(fd int) (done bool, err error) {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, os.NewSyscallError("getsockopt", err)
	}
	if errno != 0 {
		return true, os.NewSyscallError("connect", syscall.Errno(errno))
	}
	// No error is no connection yet: only one that is there has a peer.
	_, err = unix.Getpeername(fd)
	return err == nil, nil
}

// address returns an address as the kernel takes it.
func address(a netip.AddrPort) (family int, sa unix.Sockaddr) {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	sa6 := &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
	if zone := ip.Zone(); zone != "" {
		if ifi, err := net.InterfaceByName(zone); err == nil {
			sa6.ZoneId = uint32(ifi.Index)
		}
	}
	return unix.AF_INET6, sa6
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) { return c.file.Read(b) }

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) { return c.file.Write(b) }

// Close implements net.Conn.
func (c *Conn) Close() error { return c.file.Close() }

// CloseWrite ends the direction that is written.
func (c *Conn) CloseWrite() error {
	var inner error
	err := c.raw.Control(func(fd uintptr) { inner = unix.Shutdown(int(fd), unix.SHUT_WR) })
	if err == nil {
		err = os.NewSyscallError("shutdown", inner)
	}
	if err != nil {
		return &net.OpError{Op: "close", Net: "tcp", Addr: c.RemoteAddr(), Err: err}
	}
	return nil
}

// SyscallConn implements syscall.Conn.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// LocalAddr implements net.Conn. It asks the kernel.
func (c *Conn) LocalAddr() net.Addr {
	var sa unix.Sockaddr
	_ = c.raw.Control(func(fd uintptr) { sa, _ = unix.Getsockname(int(fd)) })
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	}
	return &net.TCPAddr{}
}

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.file.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.file.SetWriteDeadline(t) }
