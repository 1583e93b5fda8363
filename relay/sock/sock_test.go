// SPDX-License-Identifier: Apache-2.0

package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func listen(t *testing.T, address string) (net.Listener, netip.AddrPort) {
	t.Helper()
	ln, err := Listen(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln, ln.Addr().(*net.TCPAddr).AddrPort()
}

func option(t *testing.T, c syscall.Conn, level, name int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { value, _ = unix.GetsockoptInt(int(fd), level, name) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// connected waits for a socket of Connect: what poll says of it, and then what Connected does.
func connected(fd int) (netip.AddrPort, error) {
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(poll, 10_000); n != 1 && err != unix.EINTR {
			return netip.AddrPort{}, fmt.Errorf("polled %d, %w", n, err)
		}
		if peer, err := Connected(fd); peer.IsValid() || err != nil {
			return peer, err
		}
	}
}

func TestConnect(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		ln, addr := listen(t, host+":0")
		fd, err := Connect(netip.AddrPortFrom(addr.Addr(), 0), addr)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if peer, err := connected(fd); err != nil || peer != addr {
			t.Fatalf("connected to %v, %v; want %v", peer, err, addr)
		}
		if err := Err(fd, "read"); err != nil {
			t.Errorf("nothing is wrong, but: %v", err)
		}
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		local, err := Local(fd)
		if err != nil || local.String() != s.RemoteAddr().String() {
			t.Errorf("from %v, %v, but the peer says %v", local, err, s.RemoteAddr())
		}
		if err := KeepAlive(fd); err != nil {
			t.Error(err)
		}
		for _, o := range slices.Concat(common, probing) {
			mine, err := unix.GetsockoptInt(fd, o.Level, o.Name)
			if theirs := option(t, s.(*net.TCPConn), o.Level, o.Name); err != nil || mine != o.Value || theirs != o.Value {
				t.Errorf("option %d is %d where connected, %d where accepted; want %d (%v)", o.Name, mine, theirs, o.Value, err)
			}
		}
		if err := s.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 10_000); n != 1 {
			t.Fatal(n, err)
		}
		if err := Err(fd, "read"); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("after a reset: %v", err)
		}
	}
}

// dial returns a connected socket, which is closed with the test.
func dial(t *testing.T, addr netip.AddrPort, options ...Option) int {
	t.Helper()
	fd, err := Connect(netip.AddrPort{}, addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(fd) })
	if _, err := connected(fd); err != nil {
		t.Fatal(err)
	}
	return fd
}

// accept calls Accept on a listener.
func accept(t *testing.T, ln net.Listener) (fd int, from netip.AddrPort, err error) {
	t.Helper()
	onListener(t, ln, func(l int) { fd, from, err = Accept(l) })
	return fd, from, err
}

// awaitConnection waits until there is one to accept.
func awaitConnection(t *testing.T, ln net.Listener) {
	t.Helper()
	onListener(t, ln, func(l int) {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(l), Events: unix.POLLIN}}, 10_000); n != 1 {
			t.Fatal(n, err)
		}
	})
}

func onListener(t *testing.T, ln net.Listener, do func(fd int)) {
	t.Helper()
	raw, err := ln.(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { do(int(fd)) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestQuiet: the server sees a connection with its first bytes, or when it is acknowledged. Before, it sees none, unless
// 0.2 s have passed.
func TestQuiet(t *testing.T) {
	for name, show := range map[string]func(fd int) error{
		"bytes":       func(fd int) error { _, err := Send(fd, []byte("first"), false); return err },
		"acknowledge": Acknowledge,
		"end":         Shut,
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				ln, addr := listen(t, "127.0.0.1:0")
				client := dial(t, addr, Quiet)
				fd, _, err := accept(t, ln)
				if err == nil {
					Close(fd) // the machine stood still, or the kernel acknowledged it
					continue
				}
				if err := show(client); err != nil {
					t.Fatal(err)
				}
				awaitConnection(t, ln)
				return
			}
			t.Error("ten times the server saw the connection at once")
		})
	}
}

func TestConnectErrors(t *testing.T) {
	ln, refuses := listen(t, "127.0.0.1:0")
	_ = ln.Close()
	fd, err := Connect(netip.AddrPort{}, refuses)
	if err == nil { // the kernel may say so at once, or later
		defer unix.Close(fd)
		_, err = connected(fd)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v, want refused", err)
	}
	fd, err = Connect(netip.MustParseAddrPort("192.0.2.77:0"), refuses)
	if op := new(net.OpError); fd != -1 || !errors.Is(err, unix.EADDRNOTAVAIL) || !errors.As(err, &op) || op.Op != "dial" || op.Addr.String() != refuses.String() {
		t.Errorf("%d, %v; want a net.OpError of the dial: no such local address", fd, err)
	}
}

// TestConnecting: a socket whose peer says nothing is neither connected nor failed.
func TestConnecting(t *testing.T) {
	full := full(t)
	fd, err := Connect(netip.AddrPort{}, full)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if peer, err := Connected(fd); peer.IsValid() || err != nil {
		t.Errorf("connected to %v, %v", peer, err)
	}
}

// full returns the address of a listener whose queue is full, so that a SYN gets no answer.
func full(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	addr, err := Local(fd)
	if err != nil {
		t.Fatal(err)
	}
	for { // until one gets no answer
		fd, err := Connect(netip.AddrPort{}, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(poll, 20); n == 0 && err == nil {
			return addr
		}
	}
}

func TestListenErrors(t *testing.T) {
	_, taken := listen(t, "127.0.0.1:0")
	if _, err := Listen(context.Background(), "tcp", taken.String()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v", err)
	}
	bad := Option{Level: -1}
	var call *os.SyscallError
	if _, err := Listen(context.Background(), "tcp", "127.0.0.1:0", bad); !errors.As(err, &call) || call.Syscall != "setsockopt" {
		t.Errorf("%v", err)
	}
	if _, err := Connect(netip.AddrPort{}, taken, bad); !errors.As(err, &call) {
		t.Errorf("%v", err)
	}
}
