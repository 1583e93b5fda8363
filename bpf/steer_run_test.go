// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/sightglass/sightglass/internal/nettest"
	"golang.org/x/sys/unix"
)

const (
	testMark = 0x5347
	testMask = 0xFFFF
)

// A bench runs a steering program over packets, in a namespace of its own that has loopback only and
// does not forward.
type bench struct {
	*Steer
	host *nettest.Namespace
}

// newSteer loads a Steer for a namespace, until the test ends.
func newSteer(t *testing.T, host *nettest.Namespace, cfg SteerConfig) *Steer {
	t.Helper()
	var s *Steer
	cfg.Mark = testMark
	cfg.OnError = func(err error) { t.Errorf("in the background: %v", err) }
	supported(t, host.Do(func() (err error) {
		s, err = NewSteer(cfg)
		return err
	}))
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Errorf("removing: %v", err)
		}
	})
	return s
}

// names are those of the counters, in the order of steer.c.
var names = []string{"established", "new", "cookie", "icmp", "own", "excluded", "unmatched", "midstream",
	"no listener", "fragment", "malformed", "failed", "reset", "reassembled"}

func (b *bench) counters(t *testing.T) []uint64 {
	t.Helper()
	var all []uint64
	for i := range names {
		var c Count
		ok(t, readCount(b.objects.Totals, uint32(i), &c))
		all = append(all, c.Packets)
	}
	return all
}

// run returns the counters that went up, by name, what the program answered, and the mark.
func (b *bench) run(t *testing.T, program *ebpf.Program, data []byte) (outcome string, answer int32, mark uint32) {
	t.Helper()
	outcome, answer, mark, err := b.tryRun(t, program, data)
	ok(t, err)
	return outcome, answer, mark
}

func (b *bench) tryRun(t *testing.T, program *ebpf.Program, data []byte) (outcome string, answer int32, mark uint32, err error) {
	t.Helper()
	before := b.counters(t)
	// struct __sk_buff, with a mark of somebody else's.
	context, after := make([]byte, 192), make([]byte, 192)
	binary.NativeEndian.PutUint32(context[8:], 0xABCD0000)
	var result uint32
	err = b.host.Do(func() (err error) {
		result, err = program.Run(&ebpf.RunOptions{Data: data, Context: context, ContextOut: after})
		return err
	})
	var changed []string
	for i, n := range b.counters(t) {
		if n != before[i] {
			changed = append(changed, names[i])
		}
	}
	return strings.Join(changed, ","), int32(result), binary.NativeEndian.Uint32(after[8:]), err
}

// expect checks that a packet has this outcome, and passes without a mark.
func (b *bench) expect(t *testing.T, program *ebpf.Program, data []byte, want string) {
	t.Helper()
	b.expectMark(t, program, data, want, false)
}

// expectMark checks whether the packet is marked to stay in the box; the other bits of its mark are
// left.
func (b *bench) expectMark(t *testing.T, program *ebpf.Program, data []byte, want string, marks bool) {
	t.Helper()
	outcome, answer, mark := b.run(t, program, data)
	wantMark := uint32(0xABCD0000)
	if marks {
		wantMark |= testMark
	}
	if outcome != want || answer != -1 || mark != wantMark {
		t.Errorf("got %q, answer %d, mark %#x, want %q and mark %#x", outcome, answer, mark, want, wantMark)
	}
}

func TestSteerProgram(t *testing.T) {
	host := nettest.Host(t, "box")
	b := &bench{host: host, Steer: newSteer(t, host, SteerConfig{
		MarkMask: testMask,
		Rules:    Rules{Servers: AllServers(nil)},
	})}
	t.Run("stacks", b.stacks)
	t.Run("truncated", b.truncated)
	t.Run("flags", b.flags)
	t.Run("other hosts", b.otherHosts)
	t.Run("rules", b.rules)
	t.Run("counts", b.counts)
	t.Run("one step", b.oneStep)
	t.Run("fragments", b.fragments)
	t.Run("own", b.ownAddresses)
	t.Run("established", b.established)
	t.Run("listeners", b.listeners)
}

// wants are the outcomes of each kind for a SYN that the rules take.
var wants = map[kind]string{isTCP: "no listener", isFirst: "fragment", isLater: "fragment", isMalformed: "malformed"}

func (b *bench) stacks(t *testing.T) {
	for _, s := range stacks {
		t.Run(s.name, func(t *testing.T) {
			data := s.on("S").bytes(t)
			b.expect(t, b.objects.SteerClient, data, wants[s.want])
			want := wants[s.want]
			if s.want == isTCP {
				want = "unmatched"
			}
			b.expect(t, b.objects.SteerServer, data, want)
		})
	}
}

// truncated cuts every stack at every byte: what has its headers is what it was, and what has not is
// never steered.
func (b *bench) truncated(t *testing.T) {
	for _, s := range stacks {
		t.Run(s.name, func(t *testing.T) {
			p := s.on("S")
			data, end := p.bytes(t), p.headers()
			for n := 14; n <= min(len(data), end+40); n++ {
				outcome, answer, _, err := b.tryRun(t, b.objects.SteerClient, data[:n])
				switch {
				case errors.Is(err, unix.EINVAL) && n < 14+s.network() && len(p.tags) == 0:
					// Some kernels do not run an IP header that is cut; behind a tag they do.
				case err != nil:
					t.Fatalf("cut to %d bytes: %v", n, err)
				case answer != -1:
					t.Errorf("cut to %d bytes: answer %d", n, answer)
				case n >= end && outcome != wants[s.want]:
					t.Errorf("cut to %d bytes: got %q, want %q", n, outcome, wants[s.want])
				case n < end && !slices.Contains([]string{"", "malformed", "fragment"}, outcome):
					t.Errorf("cut to %d bytes: got %q", n, outcome)
				}
			}
		})
	}
}

// flags takes for the beginning of a connection what the kernel takes for it.
func (b *bench) flags(t *testing.T) {
	const fin, syn, rst, ack = 1, 2, 4, 16
	for _, s := range []stack{stacks[0], {name: "ipv6", v6: true, wrap: func(*packet) {}}} {
		for flags := range 256 {
			p := s.on("")
			p.edit = func(ip []byte) { ip[len(ip)-20+13] = byte(flags) }
			want := "midstream"
			if flags&(fin|syn|rst|ack) == syn {
				want = "no listener"
			}
			b.expect(t, b.objects.SteerClient, p.bytes(t), want)
		}
	}
}

func (b *bench) otherHosts(t *testing.T) {
	p := stacks[0].on("S")
	p.hardware = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	b.expect(t, b.objects.SteerClient, p.bytes(t), "")
	p.hardware = net.HardwareAddr{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	b.expect(t, b.objects.SteerClient, p.bytes(t), "")
}

func (b *bench) rules(t *testing.T) {
	ok(t, b.SetRules(Rules{
		Servers: []Rule{
			{Network: prefix("198.51.100.0/24"), Ports: Ports{{443, 443}, {8000, 8999}}},
			{Network: prefix("198.51.100.128/25"), Exclude: true},
			{Network: prefix("198.51.100.200/32")},
			{Network: prefix("2001:db8:5::/48"), Ports: PortSet(443)},
			{Network: prefix("2001:db8:5:1::/64"), Ports: PortSet(443), Exclude: true},
		},
		Clients: []Rule{
			{Network: prefix("192.0.2.0/24")},
			{Network: prefix("192.0.2.66/32"), Exclude: true},
			{Network: prefix("2001:db8:c::/48")},
		},
		Never: []netip.Prefix{prefix("198.51.100.77/32"), prefix("2001:db8:5::77/128")},
	}))
	t.Cleanup(func() { ok(t, b.SetRules(Rules{Servers: AllServers(nil)})) })
	const taken, left, none, own = "no listener", "excluded", "unmatched", "own"
	for _, test := range []struct{ from, to, want string }{
		{"192.0.2.2:1", "198.51.100.2:443", taken},
		{"192.0.2.2:1", "198.51.100.2:442", none},
		{"192.0.2.2:1", "198.51.100.2:8000", taken},
		{"192.0.2.2:1", "198.51.100.2:8500", taken},
		{"192.0.2.2:1", "198.51.100.2:8999", taken},
		{"192.0.2.2:1", "198.51.100.2:9000", none},
		{"192.0.2.2:1", "198.51.100.2:7999", none},
		{"192.0.2.2:1", "198.51.100.129:443", left},
		{"192.0.2.2:1", "198.51.100.129:80", left},
		{"192.0.2.2:1", "198.51.100.200:443", taken},
		{"192.0.2.2:1", "198.51.100.200:80", taken},
		{"192.0.2.2:1", "198.51.100.201:443", left},
		{"192.0.2.2:1", "198.51.101.2:443", none},
		{"192.0.2.2:1", "198.51.100.77:443", own},
		{"192.0.2.66:1", "198.51.100.2:443", left},
		{"192.0.2.66:1", "198.51.100.2:80", none},
		{"203.0.113.1:1", "198.51.100.2:443", none},
		{"[2001:db8:c::2]:1", "[2001:db8:5::2]:443", taken},
		{"[2001:db8:c::2]:1", "[2001:db8:5::2]:444", none},
		{"[2001:db8:c::2]:1", "[2001:db8:5:1::2]:443", left},
		{"[2001:db8:c::2]:1", "[2001:db8:5:1::2]:80", none},
		{"[2001:db8:c::2]:1", "[2001:db8:5:2::2]:443", taken},
		{"[2001:db8:c::2]:1", "[2001:db8:6::2]:443", none},
		{"[2001:db8:d::2]:1", "[2001:db8:5::2]:443", none},
		{"[2001:db8:c::2]:1", "[2001:db8:5::77]:443", own},
		// The bytes of an IPv4 rule, and IPv4 in IPv6, are no IPv4.
		{"[c000:0202::]:1", "[c633:6402::]:443", none},
		{"[::ffff:192.0.2.2]:1", "[::ffff:198.51.100.2]:443", none},
		// What no router forwards.
		{"192.0.2.2:1", "127.0.0.9:443", own},
		{"192.0.2.2:1", "224.0.0.1:443", own},
		{"[2001:db8:c::2]:1", "[fe80::9]:443", own},
	} {
		t.Run(test.from+" to "+test.to, func(t *testing.T) {
			p := packet{from: netip.MustParseAddrPort(test.from), to: netip.MustParseAddrPort(test.to), flags: "S"}
			b.expect(t, b.objects.SteerClient, p.bytes(t), test.want)
		})
	}
}

// counts follows a rule's counter over changes of the rules.
func (b *bench) counts(t *testing.T) {
	t.Cleanup(func() { ok(t, b.SetRules(Rules{Servers: AllServers(nil)})) })
	stays := Rule{Network: prefix("198.51.100.0/24"), Ports: PortSet(443)}
	goes := Rule{Network: prefix("0.0.0.0/0")}
	clients := Rule{Network: prefix("192.0.0.0/8"), Exclude: true}
	syn := func(n int) {
		for range n {
			_, _, _ = b.run(t, b.objects.SteerClient, stacks[0].on("S").bytes(t))
		}
	}
	check := func(want ...RuleStats) {
		t.Helper()
		st, err := b.Stats()
		ok(t, err)
		if fmt.Sprint(st.Rules) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", st.Rules, want)
		}
	}
	ok(t, b.SetRules(Rules{Servers: []Rule{stays, goes}}))
	syn(3)
	check(RuleStats{stays, ServerSide, 3}, RuleStats{goes, ServerSide, 0})
	ok(t, b.SetRules(Rules{Servers: []Rule{goes}}))
	syn(2)
	check(RuleStats{goes, ServerSide, 2})
	ok(t, b.SetRules(Rules{Servers: []Rule{stays, goes}}))
	syn(1)
	check(RuleStats{stays, ServerSide, 1}, RuleStats{goes, ServerSide, 2})
	ok(t, b.SetRules(Rules{Servers: []Rule{stays}, Clients: []Rule{clients}}))
	syn(4)
	check(RuleStats{stays, ServerSide, 1}, RuleStats{clients, ClientSide, 4})
	if err := b.SetRules(Rules{Servers: []Rule{{}}}); err == nil {
		t.Error("took an invalid rule")
	}
	syn(1)
	check(RuleStats{stays, ServerSide, 1}, RuleStats{clients, ClientSide, 5})
}

// oneStep changes between two sets of rules while packets are judged. Neither takes the packet; the
// server's rule of one and the client's of the other would.
func (b *bench) oneStep(t *testing.T) {
	t.Cleanup(func() { ok(t, b.SetRules(Rules{Servers: AllServers(nil)})) })
	sets := []Rules{
		{Servers: AllServers(nil), Clients: []Rule{{Network: prefix("192.0.2.0/24"), Exclude: true}}},
		{Servers: []Rule{{Network: prefix("203.0.113.0/24")}}, Clients: []Rule{{Network: prefix("192.0.2.0/24")}}},
	}
	ok(t, b.SetRules(sets[0]))
	before := b.counters(t)
	data := stacks[0].on("S").bytes(t)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := b.objects.SteerClient.Run(&ebpf.RunOptions{Data: data, Repeat: 100}); err != nil && !errors.Is(err, unix.EINTR) {
				t.Error(err)
				return
			}
		}
	})
	for i := range 40 {
		ok(t, b.SetRules(sets[(i+1)%2]))
	}
	close(done)
	running.Wait()
	after := b.counters(t)
	for i, name := range names {
		switch n := after[i] - before[i]; name {
		case "excluded", "unmatched":
			if n == 0 {
				t.Errorf("no packet was %s", name)
			}
		default:
			if n != 0 {
				t.Errorf("%d packets were %q, judged by rules of which one half had changed", n, name)
			}
		}
	}
}

// fragments are kept in the box where the packet would be given to a listener, and only those.
func (b *bench) fragments(t *testing.T) {
	ok(t, b.SetListeners(listen(t, b.host, "tcp", "[::]:0", transparent())))
	t.Cleanup(func() { ok(t, b.SetListeners()) })
	for i, v6 := range []bool{false, true} {
		piece := func(flags string, offset uint16, more bool, id byte) packet {
			s := stack{v6: v6, wrap: func(p *packet) {
				if v6 {
					p.chain = []extension{fragmentHeader(offset, map[bool]byte{true: 1}[more], id)}
				} else {
					p.fragment = &fragment{offset: offset, more: more, id: uint16(id)}
				}
			}}
			return s.on(flags)
		}
		id := byte(100 + 10*i)
		first, later := piece("S", 0, true, id).bytes(t), piece("", 3, false, id).bytes(t)
		b.expect(t, b.objects.SteerClient, later, "fragment")
		b.expect(t, b.objects.SteerServer, first, "fragment")
		b.expect(t, b.objects.SteerServer, later, "fragment")
		b.expectMark(t, b.objects.SteerClient, first, "reassembled", true)
		b.expectMark(t, b.objects.SteerClient, later, "reassembled", true)
		b.expect(t, b.objects.SteerClient, piece("", 3, false, id+1).bytes(t), "fragment")
		other := piece("", 3, false, id)
		other.protocol = &udp
		b.expect(t, b.objects.SteerClient, other.bytes(t), "")
		b.expect(t, b.objects.SteerClient, piece("A", 0, true, id).bytes(t), "fragment")
		b.expect(t, b.objects.SteerClient, later, "fragment")
		b.expect(t, b.objects.SteerClient, piece("A", 0, true, id+2).bytes(t), "fragment")
		// Cut before its flags, it may be a SYN; cut before its sequence number, it is nothing.
		p := piece("A", 0, true, id+3)
		b.expectMark(t, b.objects.SteerClient, p.bytes(t)[:p.headers()-12], "reassembled", true)
		b.expect(t, b.objects.SteerClient, p.bytes(t)[:p.headers()-13], "malformed")
		own := piece("S", 0, true, id+4)
		own.to = netip.AddrPortFrom(map[bool]netip.Addr{false: netip.MustParseAddr("127.0.0.1"), true: netip.IPv6Loopback()}[v6], 443)
		b.expect(t, b.objects.SteerClient, own.bytes(t), "own")
	}
}

// ownAddresses are known without being told.
func (b *bench) ownAddresses(t *testing.T) {
	for _, s := range []stack{stacks[0], {name: "ipv6", v6: true, wrap: func(*packet) {}}} {
		p := s.on("S")
		b.expect(t, b.objects.SteerClient, p.bytes(t), "no listener")
		address := netip.PrefixFrom(p.to.Addr(), p.to.Addr().BitLen())
		ok(t, b.host.AddAddr("lo", address))
		eventually(t, "the new address is the box's own", func() bool {
			outcome, _, _ := b.run(t, b.objects.SteerClient, p.bytes(t))
			return outcome == "own"
		})
		b.expect(t, b.objects.SteerServer, p.bytes(t), "own")
	}
}

// eventually waits for what the kernel tells another goroutine.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("it did not come about that %s", what)
		case <-tick.C:
		}
	}
}

// A pair of connected sockets, on addresses of loopback.
func (b *bench) pair(t *testing.T, address string) (client, server netip.AddrPort) {
	t.Helper()
	var dialled, accepted net.Conn
	ok(t, b.host.Do(func() error {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }()
		if dialled, err = net.Dial("tcp", l.Addr().String()); err != nil {
			return err
		}
		accepted, err = l.Accept()
		return err
	}))
	for _, c := range []io.Closer{dialled, accepted} {
		t.Cleanup(func() { _ = c.Close() })
	}
	return netip.MustParseAddrPort(dialled.LocalAddr().String()), netip.MustParseAddrPort(accepted.LocalAddr().String())
}

// established finds sockets behind every stack of headers, both ways. For want of anything else the
// sockets are on loopback, and the program is made to believe that no address is the box's own.
func (b *bench) established(t *testing.T) {
	b.stopWatch()
	b.stopWatch = nil
	ok(t, b.setOwn(nil))
	client4, server4 := b.pair(t, "127.0.0.1")
	client6, server6 := b.pair(t, "::1")
	for _, s := range stacks {
		t.Run(s.name, func(t *testing.T) {
			marks := s.want == isTCP || s.want == isFirst
			want := wants[s.want]
			switch s.want {
			case isTCP:
				want = "established"
			case isFirst:
				want = "reassembled"
			}
			for _, flags := range []string{"A", "PA", "FA", "R", "S", "SA"} {
				p := s.on(flags)
				p.from, p.to = client4, server4
				if s.v6 {
					p.from, p.to = client6, server6
				}
				for _, program := range []*ebpf.Program{b.objects.SteerClient, b.objects.SteerServer} {
					b.expectMark(t, program, p.bytes(t), want, marks)
					b.expectMark(t, program, p.reversed().bytes(t), want, marks)
				}
			}
		})
	}
	other := stacks[0].on("A")
	other.from, other.to = client4, netip.AddrPortFrom(server4.Addr(), server4.Port()+1)
	b.expect(t, b.objects.SteerClient, other.bytes(t), "midstream")
	t.Run("icmp", func(t *testing.T) {
		b.icmp4(t, client4, server4)
		b.icmp6(t, client6, server6)
	})
}

// icmp4 quotes packets of the server's socket, whole and in the least that must be quoted.
func (b *bench) icmp4(t *testing.T, client, server netip.AddrPort) {
	quoted := packet{from: server, to: client, flags: "A"}
	other := quoted
	other.to = netip.AddrPortFrom(client.Addr(), 1)
	options := quoted
	options.options = 12
	for _, test := range []struct {
		kind  layers.ICMPv4TypeCode
		quote []byte
		marks bool
	}{
		{layers.CreateICMPv4TypeCode(3, 4), quoted.ipv4(t), true},
		{layers.CreateICMPv4TypeCode(3, 1), quoted.ipv4(t)[:28], true},
		{layers.CreateICMPv4TypeCode(11, 0), options.ipv4(t)[:40], true},
		{layers.CreateICMPv4TypeCode(12, 0), quoted.ipv4(t)[:27], false},
		{layers.CreateICMPv4TypeCode(8, 0), quoted.ipv4(t), false},
		{layers.CreateICMPv4TypeCode(3, 4), other.ipv4(t), false},
	} {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4,
			SrcIP: net.IP{203, 0, 113, 1}, DstIP: server.Addr().AsSlice()}
		eth := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
		b.expectKept(t, serialize(t, eth, ip, &layers.ICMPv4{TypeCode: test.kind}, gopacket.Payload(test.quote))[:42+len(test.quote)], test.marks)
	}
}

func (b *bench) icmp6(t *testing.T, client, server netip.AddrPort) {
	quoted := packet{from: server, to: client, flags: "A"}
	chained := quoted
	chained.chain = []extension{padding(dst, 1)}
	for _, test := range []struct {
		kind  layers.ICMPv6TypeCode
		quote []byte
		marks bool
	}{
		{layers.CreateICMPv6TypeCode(2, 0), quoted.ipv6(t), true},
		{layers.CreateICMPv6TypeCode(1, 0), chained.ipv6(t), true},
		{layers.CreateICMPv6TypeCode(3, 0), quoted.ipv6(t)[:48], true},
		{layers.CreateICMPv6TypeCode(4, 0), quoted.ipv6(t)[:47], false},
		{layers.CreateICMPv6TypeCode(135, 0), quoted.ipv6(t), false},
	} {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6,
			SrcIP: netip.MustParseAddr("2001:db8::1").AsSlice(), DstIP: server.Addr().AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: test.kind}
		_ = icmp.SetNetworkLayerForChecksum(ip)
		eth := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv6}
		b.expectKept(t, serialize(t, eth, ip, icmp, gopacket.Payload(append(make([]byte, 4), test.quote...))), test.marks)
	}
}

// expectKept checks whether an ICMP error is kept in the box.
func (b *bench) expectKept(t *testing.T, data []byte, kept bool) {
	t.Helper()
	want := map[bool]string{true: "icmp", false: ""}[kept]
	for _, program := range []*ebpf.Program{b.objects.SteerClient, b.objects.SteerServer} {
		b.expectMark(t, program, data, want, kept)
	}
}

// listeners takes those that will do, in all their families.
func (b *bench) listeners(t *testing.T) {
	open := func(network, address string, control controlFunc) *net.TCPListener {
		return listen(t, b.host, network, address, control)
	}
	plain := open("tcp", "[::1]:0", nil)
	both := open("tcp", "[::]:0", transparent())
	four := open("tcp4", "127.0.0.1:0", transparent())
	six := open("tcp6", "[::1]:0", transparent())
	ok(t, b.SetListeners(both, four, six, six))
	syn4, syn6 := stacks[0].on("S").bytes(t), packet{from: client6, to: server6, flags: "S"}.bytes(t)
	slots := func(want4, want6 uint32) {
		t.Helper()
		var got4, got6 uint32
		ok(t, b.objects.ListenersIpv4.Get(&got4))
		ok(t, b.objects.ListenersIpv6.Get(&got6))
		if got4 != want4 || got6 != want6 {
			t.Errorf("%d slots for IPv4 and %d for IPv6, want %d and %d", got4, got6, want4, want6)
		}
		// A test run is not at an interface's ingress, where a socket can be assigned.
		want := map[bool]string{true: "no listener", false: "failed"}
		b.expect(t, b.objects.SteerClient, syn4, want[want4 == 0])
		b.expect(t, b.objects.SteerClient, syn6, want[want6 == 0])
	}
	slots(2, 3)
	if err := b.SetListeners(both, plain); err == nil || !strings.Contains(err.Error(), "IP_TRANSPARENT") {
		t.Errorf("of a socket that is not transparent: %v", err)
	}
	ok(t, b.SetListeners(six))
	slots(0, 1)
	ok(t, b.SetListeners(four))
	slots(1, 0)
	ok(t, b.SetListeners())
	slots(0, 0)
	ok(t, b.SetListeners(both, six))
	slots(1, 2)
	// The next one steps in for one that is closed.
	ok(t, both.Close())
	b.expect(t, b.objects.SteerClient, syn6, "failed")
	b.expect(t, b.objects.SteerClient, syn4, "no listener")
	ok(t, six.Close())
	b.expect(t, b.objects.SteerClient, syn6, "no listener")
	if err := b.SetListeners(six); err == nil {
		t.Error("took a closed listener")
	}
	dialled, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	ok(t, err)
	defer func() { _ = dialled.Close() }()
	if err := b.SetListeners(dialled); err == nil || !strings.Contains(err.Error(), "no TCP socket that listens") {
		t.Errorf("of a UDP socket: %v", err)
	}
}

// BenchmarkSteer is what packets cost that pass: one for the box itself, one that no rule takes, and one
// of a connection that the box does not have.
func BenchmarkSteer(b *testing.B) {
	s, err := NewSteer(SteerConfig{Mark: testMark, Rules: Rules{Servers: AllServers(PortSet(serverPort))}})
	supported(b, err)
	defer func() { _ = s.Remove() }()
	own, other, midstream := stacks[0].on("A"), stacks[0].on("S"), stacks[0].on("A")
	own.to = netip.MustParseAddrPort("127.0.0.1:443")
	other.to = netip.AddrPortFrom(other.to.Addr(), 80)
	for name, p := range map[string]packet{"own": own, "unmatched": other, "midstream": midstream} {
		data := p.bytes(b)
		b.Run("packet="+name, func(b *testing.B) {
			_, each, err := s.objects.SteerClient.Benchmark(data, b.N, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(each.Nanoseconds()), "ns/op")
		})
	}
}
