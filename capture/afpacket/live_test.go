// SPDX-License-Identifier: Apache-2.0

//go:build linux

package afpacket

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/capture/filter"
	"github.com/sightglass/sightglass/internal/nettest"
)

// These tests capture in network namespaces of their own.

var (
	left  = netip.MustParsePrefix("192.0.2.1/24")
	right = netip.MustParsePrefix("192.0.2.2/24")
)

// pair makes two hosts, joined by a wire whose ends are both called eth0.
func pair(t *testing.T) (a, b *nettest.Namespace) {
	t.Helper()
	a, b = nettest.Host(t, "left"), nettest.Host(t, "right")
	must(t, nettest.Veth(a, "eth0", b, "eth0"))
	must(t, a.AddAddr("eth0", left))
	must(t, b.AddAddr("eth0", right))
	return a, b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openIn opens sockets in a namespace.
func openIn(t *testing.T, host *nettest.Namespace, o Options, n int) []*Socket {
	t.Helper()
	var sockets []*Socket
	must(t, host.Do(func() (err error) {
		sockets, err = OpenFanout(o, n)
		return err
	}))
	t.Cleanup(func() {
		for _, s := range sockets {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return sockets
}

// expression makes a filter of an expression.
func expression(text string) func(Link, uint32) ([]bpf.RawInstruction, error) {
	return func(l Link, snaplen uint32) ([]bpf.RawInstruction, error) {
		link := filter.Ethernet
		if l == RawIP {
			link = filter.RawIP
		}
		return filter.Assemble(text, link, snaplen)
	}
}

// collect reads packets until enough says so. It copies them.
func collect(t *testing.T, s *Socket, enough func([]Packet) bool) []Packet {
	t.Helper()
	var packets []Packet
	deadline := time.Now().Add(10 * time.Second)
	for !enough(packets) {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets came, and not what was waited for", len(packets))
		}
		var b Block
		err := s.Block(&b, 100*time.Millisecond)
		if errors.Is(err, ErrTimeout) {
			continue
		}
		must(t, err)
		var p Packet
		for b.Next(&p) {
			p.Data = bytes.Clone(p.Data)
			packets = append(packets, p)
		}
		s.Release(&b)
	}
	return packets
}

func contains(text string) func([]Packet) bool {
	return func(ps []Packet) bool {
		for _, p := range ps {
			if bytes.Contains(p.Data, []byte(text)) {
				return true
			}
		}
		return false
	}
}

// say sends a datagram.
func say(t *testing.T, from *nettest.Namespace, to netip.AddrPort, text string) {
	t.Helper()
	must(t, from.Do(func() error {
		c, err := net.Dial("udp", to.String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte(text))
		return err
	}))
}

func at(p netip.Prefix, port uint16) netip.AddrPort { return netip.AddrPortFrom(p.Addr(), port) }

func TestCapture(t *testing.T) {
	a, b := pair(t)
	s := openIn(t, b, Options{Interface: "eth0", Promiscuous: true, Filter: expression("udp"), RingSize: 4 << 20}, 1)[0]
	before := time.Now()
	say(t, a, at(right, 5000), "the first")
	say(t, b, at(left, 5000), "the second")
	packets := collect(t, s, func(ps []Packet) bool { return contains("the first")(ps) && contains("the second")(ps) })
	for _, p := range packets {
		out := bytes.Contains(p.Data, []byte("the second"))
		if !out && !bytes.Contains(p.Data, []byte("the first")) {
			continue
		}
		if p.Outgoing != out || p.Length != len(p.Data) || p.Data[12] != 8 || p.Tagged {
			t.Errorf("%+v", p)
		}
		if at := time.Unix(0, p.Time); at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("captured at %v", at)
		}
	}
	if s.Link() != Ethernet || s.Interface() != "eth0" {
		t.Errorf("link %v of %s", s.Link(), s.Interface())
	}
	if st, err := s.Stats(); err != nil || st.Received < 2 || st.Dropped != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

// Nothing is captured that the filter does not accept, from the first packet on.
func TestCaptureFilter(t *testing.T) {
	a, b := pair(t)
	stop := make(chan struct{})
	flood := make(chan error)
	go func() {
		flood <- a.Do(func() error {
			c, err := net.Dial("udp", at(right, 5001).String())
			if err != nil {
				return err
			}
			defer c.Close()
			for {
				select {
				case <-stop:
					return nil
				default:
					c.Write([]byte("noise")) // refused by the other host, sometimes
				}
			}
		})
	}()
	sockets := openIn(t, b, Options{Interface: "eth0", Filter: expression("udp dst port 5000"), RingSize: 4 << 20}, 2)
	say(t, a, at(right, 5000), "what is wanted")
	close(stop)
	must(t, <-flood)
	say(t, a, at(right, 5000), "the end")
	seen := 0
	for _, s := range sockets {
		var b Block
		for s.Block(&b, 200*time.Millisecond) == nil {
			var p Packet
			for b.Next(&p) {
				seen++
				if bytes.Contains(p.Data, []byte("noise")) {
					t.Fatal("the filter was not in place")
				}
			}
			s.Release(&b)
		}
	}
	if seen != 2 {
		t.Errorf("%d packets", seen)
	}
}

func TestCaptureSnaplen(t *testing.T) {
	a, b := pair(t)
	for _, f := range []func(Link, uint32) ([]bpf.RawInstruction, error){nil, expression("udp")} {
		s := openIn(t, b, Options{Interface: "eth0", Snaplen: 60, Filter: f, RingSize: 4 << 20}, 1)[0]
		say(t, a, at(right, 5000), "the beginning"+strings.Repeat(".", 500))
		for _, p := range collect(t, s, contains("the beginning")) {
			if bytes.Contains(p.Data, []byte("the beg")) && (len(p.Data) != 60 || p.Length != 14+20+8+513) {
				t.Errorf("%d of %d bytes", len(p.Data), p.Length)
			}
		}
	}
}

// Both directions of a flow come out of one socket, and flows are spread.
func TestCaptureFanout(t *testing.T) {
	a, b := pair(t)
	sockets := openIn(t, b, Options{Interface: "eth0", Filter: expression("tcp"), RingSize: 64 << 20}, 4)
	ln, err := b.Listen("tcp", at(right, 5000).String())
	must(t, err)
	defer ln.Close()
	const flows = 40
	for range flows {
		c, err := a.Dial("tcp", at(right, 5000).String())
		must(t, err)
		in, err := ln.Accept()
		must(t, err)
		c.Close()
		in.Close()
	}
	of := make(map[string]int)
	used := 0
	for i, s := range sockets {
		n := len(of)
		var b Block
		for s.Block(&b, 200*time.Millisecond) == nil {
			var p Packet
			for b.Next(&p) {
				ports := [][]byte{p.Data[34:36], p.Data[36:38]}
				if bytes.Equal(ports[0], []byte{0x13, 0x88}) {
					ports[0] = ports[1]
				}
				key := string(ports[0])
				if j, ok := of[key]; ok && j != i {
					t.Errorf("a flow is in sockets %d and %d", j, i)
				}
				of[key] = i
			}
			s.Release(&b)
		}
		if len(of) > n {
			used++
		}
	}
	if len(of) != flows || used < 2 {
		t.Errorf("%d flows in %d sockets", len(of), used)
	}
}

// The kernel takes tags out of packets.
func TestCaptureVLAN(t *testing.T) {
	a, b := pair(t)
	s := openIn(t, b, Options{Interface: "eth0", Promiscuous: true, Filter: expression("vlan 42"), RingSize: 4 << 20}, 1)[0]
	frame := func(vlan byte, text string) []byte {
		head := []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x81, 0, 0x60, vlan, 0x88, 0xb5}
		return append(head, (text + strings.Repeat(".", 60))...)
	}
	must(t, a.Do(func() error { return sendFrames("eth0", frame(41, "not this"), frame(42, "but this")) }))
	for _, p := range collect(t, s, contains("but this")) {
		if p.VLAN() != 42 || p.Tag != 0x602a || p.TagType != 0x8100 || !bytes.HasPrefix(p.Data[12:], []byte{0x88, 0xb5}) {
			t.Errorf("VLAN %d, tag %x, type %x, % x", p.VLAN(), p.Tag, p.TagType, p.Data[:20])
		}
	}
}

// sendFrames sends frames out of an interface of this thread's namespace.
func sendFrames(name string, frames ...[]byte) error {
	index, _, err := lookUp(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, f := range frames {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			return err
		}
	}
	return nil
}

// On loopback, and on all interfaces at once, each packet comes once.
func TestCaptureLoopback(t *testing.T) {
	host := nettest.Host(t, "alone")
	for _, name := range []string{"lo", Any} {
		s := openIn(t, host, Options{Interface: name, Filter: expression("udp dst port 5000"), RingSize: 4 << 20}, 1)[0]
		say(t, host, netip.MustParseAddrPort("127.0.0.1:5000"), "one")
		say(t, host, netip.MustParseAddrPort("127.0.0.1:5000"), "two")
		packets := collect(t, s, contains("two"))
		if len(packets) != 2 {
			t.Errorf("%s: %d packets", name, len(packets))
		}
		if link := s.Link(); (name == Any) != (link == RawIP) {
			t.Errorf("%s: link %d", name, link)
		}
		if name == Any && packets[0].Data[0] != 0x45 {
			t.Errorf("it begins with % x", packets[0].Data[:4])
		}
	}
}

// What does not fit into the ring is counted.
func TestCaptureDrops(t *testing.T) {
	a, b := pair(t)
	s := openIn(t, b, Options{Interface: "eth0", RingSize: 1}, 1)[0]
	must(t, a.Do(func() error {
		frame := append([]byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5}, make([]byte, 1000)...)
		all := make([][]byte, 10_000)
		for i := range all {
			all[i] = frame
		}
		return sendFrames("eth0", all...)
	}))
	// The kernel's own packets may still come, and be counted before they are read.
	n := 0
	var st Stats
	var err error
	for range 20 {
		var blk Block
		for s.Block(&blk, 100*time.Millisecond) == nil {
			var p Packet
			for blk.Next(&p) {
				n++
			}
			s.Release(&blk)
		}
		if st, err = s.Stats(); err != nil || st.Received == uint64(n)+st.Dropped {
			break
		}
	}
	if err != nil || st.Dropped == 0 || st.Received < 10_000 || st.Received != uint64(n)+st.Dropped || st.Frozen == 0 {
		t.Errorf("%d packets, %+v, %v", n, st, err)
	}
}

func TestInterfaceGoes(t *testing.T) {
	_, b := pair(t)
	s := openIn(t, b, Options{Interface: "eth0", RingSize: 4 << 20}, 1)[0]
	must(t, b.Down("eth0"))
	var blk Block
	for s.Block(&blk, 300*time.Millisecond) == nil {
		s.Release(&blk)
	}
	must(t, b.Up("eth0"))
	must(t, b.Remove("eth0"))
	for {
		err := s.Block(&blk, time.Second)
		if err == nil {
			s.Release(&blk)
			continue
		}
		if !errors.Is(err, ErrGone) {
			t.Error(err)
		}
		return
	}
}

func TestOpenErrors(t *testing.T) {
	host := nettest.Host(t, "alone")
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"missing":  {Options{Interface: "eth9"}, "there is no such interface"},
		"too long": {Options{Interface: strings.Repeat("x", 50)}, "no name of an interface"},
		"filter":   {Options{Interface: "lo", Filter: expression("nonsense")}, "no address"},
		"attach": {Options{Interface: "lo", RingSize: 4 << 20, Attach: func(int, []bpf.RawInstruction) error {
			return fmt.Errorf("not today")
		}}, "not today"},
	} {
		t.Run(name, func(t *testing.T) {
			err := host.Do(func() error {
				s, err := Open(tt.o)
				if err == nil {
					s.Close()
				}
				return err
			})
			var op *net.OpError
			if !errors.As(err, &op) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
		})
	}
}
