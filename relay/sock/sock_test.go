// SPDX-License-Identifier: Apache-2.0

package sock

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

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

func TestDial(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		ln, addr := listen(t, host+":0")
		local := netip.AddrPortFrom(addr.Addr(), 0)
		c, err := Dial(context.Background(), local, addr)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if c.LocalAddr().String() != s.RemoteAddr().String() || c.RemoteAddr().String() != s.LocalAddr().String() {
			t.Errorf("%v to %v, but the peer says %v to %v", c.LocalAddr(), c.RemoteAddr(), s.RemoteAddr(), s.LocalAddr())
		}
		for _, o := range Common {
			if a, b := option(t, c, o.Level, o.Name), option(t, s.(*net.TCPConn), o.Level, o.Name); a != o.Value || b != o.Value {
				t.Errorf("option %d is %d where dialled, %d where accepted; want %d", o.Name, a, b, o.Value)
			}
		}
		_, _ = c.Write([]byte("to the end"))
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(s); string(got) != "to the end" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		_ = s.Close()
		if n, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read %d bytes, %v", n, err)
		}
		if err := errors.Join(c.SetDeadline(time.Now().Add(time.Hour)), c.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestDialErrors(t *testing.T) {
	ln, refuses := listen(t, "127.0.0.1:0")
	_ = ln.Close()
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	cancelled, cancelNow := context.WithCancel(context.Background())
	cancelNow()
	for _, tc := range []struct {
		name          string
		ctx           context.Context
		local, remote netip.AddrPort
		want          error
	}{
		{"refused", context.Background(), netip.AddrPort{}, refuses, unix.ECONNREFUSED},
		{"no such local address", context.Background(), netip.MustParseAddrPort("192.0.2.77:0"), refuses, unix.EADDRNOTAVAIL},
		{"deadline", short, netip.AddrPort{}, full(t), context.DeadlineExceeded},
		{"cancelled", cancelled, netip.AddrPort{}, full(t), context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Dial(tc.ctx, tc.local, tc.remote)
			if c != nil || !errors.Is(err, tc.want) {
				t.Fatalf("%v, want %v", err, tc.want)
			}
			if op := new(net.OpError); !errors.As(err, &op) || op.Op != "dial" || op.Addr.String() != tc.remote.String() {
				t.Errorf("%v is no net.OpError of the dial", err)
			}
		})
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
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
	for { // until one gets no answer
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		c, err := Dial(ctx, netip.AddrPort{}, addr)
		cancel()
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
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
	if _, err := Dial(context.Background(), netip.AddrPort{}, taken, bad); !errors.As(err, &call) {
		t.Errorf("%v", err)
	}
}
