// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var payload = []byte("0123456789abcdefghijklmnopqrstuvwxyz")

// want is the segment that is in every packet of these tests.
var want = Segment{
	SrcPort: 40000, DstPort: 443, Seq: 0xdeadbeef, Ack: 77, Flags: ACK | PSH, Payload: payload,
}

func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func tcp() *layers.TCP {
	return &layers.TCP{
		SrcPort: 40000, DstPort: 443, Seq: 0xdeadbeef, Ack: 77, ACK: true, PSH: true, Window: 100,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop}},
	}
}

func ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, TTL: 64, Protocol: proto, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{198, 51, 100, 2},
	}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{
		Version: 6, HopLimit: 64, NextHeader: next,
		SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2"),
	}
}

func eth(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: t,
	}
}

func data() gopacket.Payload { return gopacket.Payload(payload) }

// inner4 and inner6 are the packets inside, from IP on; frame4 is one from Ethernet on.
func inner4(t testing.TB) []byte { return serialize(t, ip4(layers.IPProtocolTCP), tcp(), data()) }
func inner6(t testing.TB) []byte { return serialize(t, ip6(layers.IPProtocolTCP), tcp(), data()) }
func frame4(t testing.TB) []byte {
	return serialize(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(), data())
}

func raw(b ...byte) gopacket.Payload { return gopacket.Payload(b) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// udpTunnel puts what is in a tunnel into UDP.
func udpTunnel(t testing.TB, port layers.UDPPort, inside ...[]byte) []byte {
	u := &layers.UDP{SrcPort: 5555, DstPort: port}
	return serialize(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolUDP), u, gopacket.Payload(join(inside...)))
}

func greTunnel(t testing.TB, inside ...[]byte) []byte {
	return serialize(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolGRE), gopacket.Payload(join(inside...)))
}

type wrapped struct {
	link uint16
	data []byte
	vlan uint16
	v6   bool
}

// encapsulations are all ways that are read to wrap one segment.
func encapsulations(t testing.TB) map[string]wrapped {
	const ipv4, ipv6 = layers.EthernetTypeIPv4, layers.EthernetTypeIPv6
	vlan := func(id uint16, next layers.EthernetType) *layers.Dot1Q {
		return &layers.Dot1Q{VLANIdentifier: id, Type: next}
	}
	label := func(n uint32, last bool) *layers.MPLS { return &layers.MPLS{Label: n, StackBottom: last, TTL: 9} }
	in4, in6, fr4 := gopacket.Payload(inner4(t)), gopacket.Payload(inner6(t)), gopacket.Payload(frame4(t))
	routing := raw(6, 2, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8)
	segment := gopacket.Payload(in6[40:])
	with6 := func(next layers.IPProtocol, parts ...[]byte) []byte {
		return serialize(t, eth(ipv6), ip6(next), gopacket.Payload(join(parts...)))
	}
	mss := []byte{6, 0, 1, 4, 0, 0, 0, 0} // hop-by-hop options: padding
	return map[string]wrapped{
		"ethernet":              {LinkEthernet, fr4, 0, false},
		"ethernet, IPv6":        {LinkEthernet, serialize(t, eth(ipv6), in6), 0, true},
		"ethernet, padded":      {LinkEthernet, join(fr4, make([]byte, 9)), 0, false},
		"SNAP":                  {LinkEthernet, join(fr4[:12], []byte{0, byte(8 + len(in4)), 0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, in4), 0, false},
		"VLAN":                  {LinkEthernet, serialize(t, eth(layers.EthernetTypeDot1Q), vlan(42, ipv4), in4), 42, false},
		"QinQ":                  {LinkEthernet, serialize(t, eth(layers.EthernetTypeQinQ), vlan(7, layers.EthernetTypeDot1Q), vlan(42, ipv6), in6), 7, true},
		"old QinQ":              {LinkEthernet, serialize(t, eth(0x9100), vlan(7, layers.EthernetTypeDot1Q), vlan(42, ipv4), in4), 7, false},
		"MPLS":                  {LinkEthernet, serialize(t, eth(layers.EthernetTypeMPLSUnicast), label(16, false), label(17, true), in4), 0, false},
		"MPLS, IPv6":            {LinkEthernet, serialize(t, eth(layers.EthernetTypeMPLSMulticast), label(17, true), in6), 0, true},
		"pseudowire":            {LinkEthernet, serialize(t, eth(layers.EthernetTypeMPLSUnicast), label(17, true), raw(0, 0, 0, 1), fr4), 0, false},
		"pseudowire, no word":   {LinkEthernet, serialize(t, eth(layers.EthernetTypeMPLSUnicast), label(17, true), gopacket.Payload(join([]byte{0x40}, fr4[1:]))), 0, false},
		"PPPoE":                 {LinkEthernet, serialize(t, eth(layers.EthernetTypePPPoESession), raw(0x11, 0, 0, 1, 0, byte(2+len(in4)), 0, 0x21), in4, raw(0, 0, 0)), 0, false},
		"PPPoE, IPv6":           {LinkEthernet, serialize(t, eth(layers.EthernetTypePPPoESession), raw(0x11, 0, 0, 1, 0, byte(2+len(in6)), 0, 0x57), in6), 0, true},
		"GRE":                   {LinkEthernet, greTunnel(t, []byte{0, 0, 8, 0}, in4), 0, false},
		"GRE, all fields":       {LinkEthernet, greTunnel(t, []byte{0xb0, 0, 0x86, 0xdd}, make([]byte, 12), in6), 0, true},
		"GRE, bridged":          {LinkEthernet, greTunnel(t, []byte{0x20, 0, 0x65, 0x58, 0, 0, 1, 0}, fr4), 0, false},
		"GRE over IPv6":         {LinkEthernet, with6(layers.IPProtocolGRE, []byte{0, 0, 8, 0}, in4), 0, false},
		"PPTP":                  {LinkEthernet, greTunnel(t, []byte{0x30, 0x81, 0x88, 0x0b, 0, byte(4 + len(in4)), 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21}, in4), 0, false},
		"ERSPAN I":              {LinkEthernet, greTunnel(t, []byte{0, 0, 0x88, 0xbe}, fr4), 0, false},
		"ERSPAN II":             {LinkEthernet, greTunnel(t, []byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 1, 0, 0, 0, 0}, fr4), 0, false},
		"ERSPAN III":            {LinkEthernet, greTunnel(t, []byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, fr4), 0, false},
		"ERSPAN III, subheader": {LinkEthernet, greTunnel(t, []byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8}, fr4), 0, false},
		"VXLAN":                 {LinkEthernet, udpTunnel(t, 4789, []byte{8, 0, 0, 0, 0, 0, 1, 0}, fr4), 0, false},
		"VXLAN on Linux' port":  {LinkEthernet, udpTunnel(t, 8472, []byte{8, 0, 0, 0, 0, 0, 1, 0}, fr4), 0, false},
		"Geneve":                {LinkEthernet, udpTunnel(t, 6081, []byte{2, 0, 0x65, 0x58, 0, 0, 1, 0}, make([]byte, 8), fr4), 0, false},
		"Geneve, IP":            {LinkEthernet, udpTunnel(t, 6081, []byte{0, 0, 8, 0, 0, 0, 1, 0}, in4), 0, false},
		"IP in IP":              {LinkEthernet, serialize(t, eth(ipv4), ip4(layers.IPProtocolIPv4), in4), 0, false},
		"6in4":                  {LinkEthernet, serialize(t, eth(ipv4), ip4(layers.IPProtocolIPv6), in6), 0, true},
		"4in6":                  {LinkEthernet, with6(layers.IPProtocolIPv4, in4), 0, false},
		"6in6":                  {LinkEthernet, with6(layers.IPProtocolIPv6, in6), 0, true},
		"extension headers":     {LinkEthernet, with6(0, []byte{43, 0, 1, 4, 0, 0, 0, 0}, []byte{60, routing[1], routing[2], routing[3]}, routing[4:], mss, segment), 0, true},
		"authentication header": {LinkEthernet, with6(51, []byte{6, 4, 0, 0}, make([]byte, 20), segment), 0, true},
		"atomic fragment":       {LinkEthernet, with6(44, []byte{6, 0, 0, 0, 0, 0, 0, 9}, segment), 0, true},
		"raw 12":                {12, in4, 0, false},
		"raw 14":                {14, in6, 0, true},
		"raw 101":               {101, in6, 0, true},
		"IPv4 228":              {228, in4, 0, false},
		"IPv6 229":              {229, in6, 0, true},
		"null":                  {LinkNull, join([]byte{2, 0, 0, 0}, in4), 0, false},
		"null, big-endian":      {LinkNull, join([]byte{0, 0, 0, 30}, in6), 0, true},
		"loop":                  {LinkLoop, join([]byte{0, 0, 0, 24}, in6), 0, true},
		"cooked":                {LinkSLL, join([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0}, in4), 0, false},
		"cooked, VLAN":          {LinkSLL, join([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0x81, 0, 0, 42, 0x86, 0xdd}, in6), 42, true},
		"cooked 2":              {LinkSLL2, join([]byte{0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, in6), 0, true},
		"large, merged":         {LinkIPv4, join(in4[:2], []byte{0, 0}, in4[4:]), 0, false},
		"large, merged, IPv6":   {LinkIPv6, join(in6[:4], []byte{0, 0}, in6[6:]), 0, true},
	}
}

// expected is the segment of a wrapped packet.
func expected(w wrapped) Segment {
	s := want
	s.Src, s.Dst = addr("192.0.2.1"), addr("198.51.100.2")
	if w.v6 {
		s.Src, s.Dst = addr("2001:db8::1"), addr("2001:db8::2")
	}
	s.VLAN = w.vlan
	return s
}

func check(t *testing.T, got, want Segment) {
	t.Helper()
	if !bytes.Equal(got.Payload, want.Payload) {
		t.Errorf("payload %q, want %q", got.Payload, want.Payload)
	}
	got.Payload, want.Payload = nil, nil
	if !equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func equal(a, b Segment) bool {
	return a.Src == b.Src && a.Dst == b.Dst && a.SrcPort == b.SrcPort && a.DstPort == b.DstPort &&
		a.Seq == b.Seq && a.Ack == b.Ack && a.Flags == b.Flags && a.VLAN == b.VLAN &&
		a.Missing == b.Missing && a.Copied == b.Copied
}

func TestEncapsulations(t *testing.T) {
	for name, w := range encapsulations(t) {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			var got Segment
			if res := d.Decode(w.link, w.data, len(w.data), 0, &got); res != TCP {
				t.Fatalf("result %v", res)
			}
			check(t, got, expected(w))
		})
	}
}

// A packet that is cut shows what is there, and how much is not. Cut within its headers it is no
// segment.
func TestTruncatedPackets(t *testing.T) {
	for name, w := range encapsulations(t) {
		t.Run(name, func(t *testing.T) {
			for n := range len(w.data) {
				var d Decoder
				var got Segment
				res := d.Decode(w.link, w.data[:n], len(w.data), 0, &got)
				if res != TCP {
					if n >= len(w.data)-len(payload) {
						t.Errorf("cut to %d of %d bytes: %v", n, len(w.data), res)
					}
					continue
				}
				if len(got.Payload)+got.Missing != len(payload) || !bytes.HasPrefix(payload, got.Payload) {
					t.Errorf("cut to %d of %d bytes: %q and %d missing", n, len(w.data), got.Payload, got.Missing)
				}
			}
		})
	}
}

func TestNotTCP(t *testing.T) {
	const ipv4 = layers.EthernetTypeIPv4
	deep := inner4(t)
	for range maxLayers {
		deep = serialize(t, ip4(layers.IPProtocolIPv4), gopacket.Payload(deep))
	}
	badOffset := inner4(t)
	badOffset[20+12] = 0x40
	badLength := inner4(t)
	badLength[2], badLength[3] = 0, 19
	for name, tt := range map[string]struct {
		link uint16
		data []byte
		want Result
	}{
		"ARP":             {LinkEthernet, serialize(t, eth(layers.EthernetTypeARP), raw(make([]byte, 28)...)), Other},
		"UDP":             {LinkEthernet, udpTunnel(t, 53, payload), Other},
		"ESP":             {LinkEthernet, serialize(t, eth(ipv4), ip4(layers.IPProtocolESP), data()), Other},
		"VXLAN?":          {LinkEthernet, udpTunnel(t, 4789, payload), Other},
		"Geneve?":         {LinkEthernet, udpTunnel(t, 6081, []byte{0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8}), Other},
		"too deep":        {LinkRaw, deep, TooDeep},
		"unknown link":    {6, payload, UnknownLink},
		"IP version":      {LinkRaw, payload, Malformed},
		"TCP data offset": {LinkRaw, badOffset, Malformed},
		"IP length":       {LinkRaw, badLength, Malformed},
		"empty":           {LinkEthernet, nil, Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			if got := d.Decode(tt.link, tt.data, len(tt.data), 0, new(Segment)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	var d Decoder
	if got := d.Decode(LinkIPv4, join(inner4(t)[:2], []byte{0, 0}, inner4(t)[4:]), 1<<31, 0, new(Segment)); got != Malformed {
		t.Errorf("a segment of 2 GiB: %v", got)
	}
}

func TestKnownLink(t *testing.T) {
	for _, link := range []uint16{0, 1, 12, 14, 101, 108, 113, 228, 229, 276} {
		if !KnownLink(link) {
			t.Errorf("link type %d is not known", link)
		}
	}
	if KnownLink(6) {
		t.Error("link type 6 is known")
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	var d Decoder
	var seg Segment
	for name, w := range encapsulations(t) {
		if n := testing.AllocsPerRun(100, func() { d.Decode(w.link, w.data, len(w.data), 0, &seg) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The short way for common packets says what the long one does, or leaves the packet to it.
func TestCommonPackets(t *testing.T) {
	const ip, tcp = 14, 34
	for name, change := range map[string]func(b []byte) []byte{
		"as it is":               func(b []byte) []byte { return b },
		"padded":                 func(b []byte) []byte { return append(b, 0, 0, 0, 0, 0, 0) },
		"cut in the payload":     func(b []byte) []byte { return b[:len(b)-1] },
		"cut in the header":      func(b []byte) []byte { return b[:tcp+19] },
		"no payload":             func(b []byte) []byte { b[ip+2], b[ip+3] = 0, 40; return b[:tcp+20] },
		"a length of 0":          func(b []byte) []byte { b[ip+2], b[ip+3] = 0, 0; return b },
		"a length of 39":         func(b []byte) []byte { b[ip+2], b[ip+3] = 0, 39; return b },
		"a length beyond":        func(b []byte) []byte { b[ip+2] = 0xff; return b },
		"IP options":             func(b []byte) []byte { b[ip] = 0x46; return b },
		"version 6":              func(b []byte) []byte { b[ip] = 0x65; return b },
		"a fragment":             func(b []byte) []byte { b[ip+6] |= 0x20; return b },
		"a later fragment":       func(b []byte) []byte { b[ip+7] = 1; return b },
		"must not be a fragment": func(b []byte) []byte { b[ip+6] = 0x40; return b },
		"UDP":                    func(b []byte) []byte { b[ip+9] = 17; return b },
		"ARP":                    func(b []byte) []byte { b[ip-1] = 6; return b },
		"an offset of 16":        func(b []byte) []byte { b[tcp+12] = 0x40; return b },
		"an offset of 60":        func(b []byte) []byte { b[tcp+12] = 0xf0; return b },
		"an offset of 24":        func(b []byte) []byte { b[tcp+12] = 0x60; return b },
		"all flags":              func(b []byte) []byte { b[tcp+13] = 0xff; return b },
	} {
		b := change(bytes.Clone(frame4(t)))
		var short, long Segment
		var d Decoder
		res := d.decode(LinkEthernet, b, len(b), 0, &long)
		if short.common(b) && (res != TCP || !reflect.DeepEqual(short, long)) {
			t.Errorf("%s: %+v by the short way, %v %+v by the long one", name, short, res, long)
		}
	}
	if !new(Segment).common(frame4(t)) {
		t.Error("the common packet does not go the short way")
	}
}

func BenchmarkDecode(b *testing.B) {
	var d Decoder
	var seg Segment
	frame := frame4(b)
	for b.Loop() {
		d.Decode(LinkEthernet, frame, len(frame), 0, &seg)
	}
}

// FuzzDecode takes any packet of any link type: what comes out lies within it, and the short way for common
// packets says what the long one does.
func FuzzDecode(f *testing.F) {
	for _, w := range encapsulations(f) {
		f.Add(w.link, w.data, uint16(0))
	}
	f.Fuzz(func(t *testing.T, link uint16, b []byte, more uint16) {
		var d Decoder
		var seg Segment
		wire := len(b) + int(more)
		var common, long Segment
		if link == LinkEthernet && common.common(b) {
			if res := d.decode(link, b, wire, 0, &long); res != TCP || !reflect.DeepEqual(common, long) {
				t.Fatalf("%+v by the short way, %v %+v by the long one", common, res, long)
			}
		}
		if d.Decode(link, b, wire, 0, &seg) != TCP {
			return
		}
		if len(seg.Payload)+20 > len(b) || seg.Missing < 0 || seg.Missing > maxMissing {
			t.Fatalf("%d bytes and %d missing out of a packet of %d", len(seg.Payload), seg.Missing, len(b))
		}
		if len(seg.Payload) > 0 && !bytes.Contains(b, seg.Payload) {
			t.Fatal("the payload is not in the packet")
		}
	})
}

func addr(text string) Addr { return AddrFrom16(netip.MustParseAddr(text).As16()) }

// TestAddr has addresses keep what they were, and their order.
func TestAddr(t *testing.T) {
	for i, texts := range [][2]string{
		{"192.0.2.1", "192.0.2.2"}, {"192.0.2.1", "2001:db8::"}, {"2001:db8::1", "2001:db8::2"}, {"2001:db8::ffff", "2001:db9::"},
	} {
		a, b := addr(texts[0]), addr(texts[1])
		if a.Netip().String() != texts[0] || b.Netip().String() != texts[1] {
			t.Errorf("%d: %v, %v", i, a.Netip(), b.Netip())
		}
		if a.Compare(b) >= 0 || b.Compare(a) <= 0 || a.Compare(a) != 0 {
			t.Errorf("%d: in the wrong order", i)
		}
	}
}
