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

	"golang.org/x/sys/unix"
)

// An Option is a socket option with an integer value.
type Option struct{ Level, Name, Value int }

// noDelay has data go out at once.
var noDelay = Option{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}

// common are options that every leg has.
var common = []Option{
	noDelay,
	{unix.SOL_SOCKET, unix.SO_OOBINLINE, 1}, // an urgent byte is one like the others (RFC 6093, Section 4)
}

// Quiet has a socket connect without a word to the server: it sees the connection with the first bytes, which the
// acknowledgement of its SYN goes with, or by Acknowledge, or after 0.2 s (tcp(7), and tcp_rcv_synsent_state_process of the kernel).
// What the server sends after these is acknowledged late, up to Acknowledge.
var Quiet = Option{unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0}

// probing finds out a peer that has vanished.
var probing = []Option{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 120}, // seconds
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
}

// Listen opens a listener. Its options are set before it is bound. What it accepts inherits them, and finds out a
// peer that has vanished.
func Listen(ctx context.Context, network, address string, options ...Option) (net.Listener, error) {
	lc := net.ListenConfig{
		KeepAlive: -1, // probing has it, once for all
		Control: func(_, _ string, c syscall.RawConn) error {
			var inner error
			err := c.Control(func(fd uintptr) { inner = set(int(fd), common, probing, options) })
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
	to := addressOf(remote)
	fd, err = unix.Socket(to.family(), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = set(fd, options)
	if err == nil && local.IsValid() {
		from := addressOf(local)
		err = os.NewSyscallError("bind", bind(fd, &from))
	}
	if err == nil {
		err = os.NewSyscallError("connect", begin(fd, &to))
	}
	if err == nil {
		err = set(fd, common) // while the peer answers
	}
	if err != nil {
		Close(fd)
		return -1, err
	}
	return fd, nil
}

// Acknowledge has the server see a connection that was made Quiet, and what it sends acknowledged at once.
func Acknowledge(fd int) error {
	return Option{unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1}.Set(fd)
}

// Push sends what waits for more (tcp(7): to set the option flushes what is pending).
func Push(fd int) error { return noDelay.Set(fd) }

// KeepAlive has a connection find out that its peer has vanished. Connect does not: for most connections, which
// are short, three system calls are more than that is worth.
func KeepAlive(fd int) error { return set(fd, probing) }

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
	if peer, err := peer(fd); err == nil {
		return peer, nil
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
