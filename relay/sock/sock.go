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
	"strconv"
	"syscall"

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
	{unix.SOL_SOCKET, unix.SO_OOBINLINE, 1}, // an urgent byte is one like the others (RFC 6093, Section 4)
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

// Connect makes a socket and has it begin to connect to remote, from local if that is valid. It does not
// block: Connected says how far the socket is once it can be written. The caller owns the descriptor. The
// error is a *net.OpError.
func Connect(local, remote netip.AddrPort, options ...Option) (fd int, err error) {
	fd, err = connect(local, remote, options)
	if err != nil {
		return -1, dialError(local, remote, err)
	}
	return fd, nil
}

func connect(local, remote netip.AddrPort, options []Option) (fd int, err error) {
	family, to := address(remote)
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
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
		return -1, err
	}
	return fd, nil
}

func dialError(local, remote netip.AddrPort, err error) error {
	e := &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(remote), Err: err}
	if local.IsValid() {
		e.Source = net.TCPAddrFromAddrPort(local)
	}
	return e
}

// Connected returns the address that a socket is connected to. Without an error, one that is not valid
// says that the socket still connects.
func Connected(fd int) (netip.AddrPort, error) {
	// Only a connection that is there has a peer.
	if peer, err := syscall.Getpeername(fd); err == nil {
		return AddrPort(peer), nil
	}
	return netip.AddrPort{}, Err(fd, "connect")
}

// Err returns what is wrong with a socket since it was last asked, nil for nothing.
func Err(fd int, call string) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if errno != 0 {
		return os.NewSyscallError(call, syscall.Errno(errno))
	}
	return nil
}

// AddrPort returns an address that the kernel gave, IPv4 in its own form. (The calls of package syscall give
// one without asking for the protocol each time, as those of x/sys/unix do.)
func AddrPort(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		ip := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 && ip.Is6() {
			ip = ip.WithZone(zoneName(sa.ZoneId))
		}
		return netip.AddrPortFrom(ip, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func zoneName(index uint32) string {
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		return ifi.Name
	}
	return strconv.FormatUint(uint64(index), 10)
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
