// SPDX-License-Identifier: Apache-2.0

package sock

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAddress: what the kernel gets is what comes back, IPv4 in its own form.
func TestAddress(t *testing.T) {
	for _, test := range []struct {
		in, want string
		family   int
	}{
		{"192.0.2.1:443", "192.0.2.1:443", unix.AF_INET},
		{"0.0.0.0:0", "0.0.0.0:0", unix.AF_INET},
		{"255.255.255.255:65535", "255.255.255.255:65535", unix.AF_INET},
		{"[::ffff:192.0.2.1]:258", "192.0.2.1:258", unix.AF_INET},
		{"[2001:db8::1]:1", "[2001:db8::1]:1", unix.AF_INET6},
		{"[::]:443", "[::]:443", unix.AF_INET6},
		{"[fe80::1%lo]:443", "[fe80::1%lo]:443", unix.AF_INET6},
		{"[fe80::1%nothing]:443", "[fe80::1]:443", unix.AF_INET6},
	} {
		a := addressOf(netip.MustParseAddrPort(test.in))
		if got := a.addrPort(); got.String() != test.want || a.family() != test.family {
			t.Errorf("%s came back as %v, of family %d", test.in, got, a.family())
		}
	}
	if got := (&address{}).addrPort(); got.IsValid() {
		t.Errorf("no address became %v", got)
	}
	mapped := address{raw: unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: netip.MustParseAddr("::ffff:192.0.2.1").As16()}}
	if got := mapped.addrPort().String(); got != "192.0.2.1:0" {
		t.Errorf("IPv4 of an IPv6 socket is %s", got)
	}
}

// TestAccept: who has connected, and that nobody has.
func TestAccept(t *testing.T) {
	ln, addr := listen(t, "127.0.0.1:0")
	if fd, from, err := accept(t, ln); fd != -1 || from.IsValid() || err != unix.EAGAIN {
		t.Errorf("descriptor %d from %v, %v; want that there is nobody", fd, from, err)
	}
	client := dial(t, addr)
	fd, from, err := accept(t, ln)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(fd)
	if mine, err := Local(client); err != nil || from != mine {
		t.Errorf("from %v; the client is %v, %v", from, mine, err)
	}
	if to, err := Local(fd); err != nil || to != addr {
		t.Errorf("to %v, %v; the listener is %v", to, err, addr)
	}
	if n, err := Read(fd, make([]byte, 8)); n != 0 || err != unix.EAGAIN {
		t.Errorf("read %d, %v before there was anything", n, err)
	}
	if n, err := Write(client, []byte("hello")); n != 5 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	if err := Shut(client); err != nil {
		t.Error(err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if n, err := unix.Poll(poll, 10_000); n != 1 {
		t.Fatal(n, err)
	}
	b := make([]byte, 8)
	if n, err := Read(fd, b); string(b[:n]) != "hello" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if n, err := Read(fd, b); n != 0 || err != nil {
		t.Errorf("read %d, %v at the end", n, err)
	}
	if _, err := Write(-1, b); err != unix.EBADF {
		t.Errorf("%v, want EBADF", err)
	}
}
