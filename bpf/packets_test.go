// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A stack is one way to wrap TCP, with what the programs must see in it.
type stack struct {
	name string
	v6   bool
	wrap func(p *packet)
	want kind
}

// kind is what a packet is to the programs.
type kind int

const (
	isTCP   kind = iota
	isFirst      // fragment of TCP
	isLater      // fragment of TCP
	isNone
	isMalformed
)

// on wraps a packet between the stack's example addresses.
func (s stack) on(flags string) packet {
	p := packet{from: client4, to: server4, flags: flags}
	if s.v6 {
		p.from, p.to = client6, server6
	}
	s.wrap(&p)
	return p
}

// network is the length of the IP header without options or extensions.
func (s stack) network() int {
	if s.v6 {
		return 40
	}
	return 20
}

// The ends of the example packets.
var (
	client4 = netip.MustParseAddrPort("192.0.2.2:40000")
	server4 = netip.MustParseAddrPort("198.51.100.2:443")
	client6 = netip.MustParseAddrPort("[2001:db8:c::2]:40000")
	server6 = netip.MustParseAddrPort("[2001:db8:5::2]:443")
)

// A packet is built from the outside in.
type packet struct {
	from, to netip.AddrPort
	flags    string // of S, A, F, R, P
	payload  []byte
	tags     []layers.EthernetType // each one's own
	options  int                   // bytes of IPv4 options
	tcpOpts  int                   // bytes of TCP options
	fragment *fragment
	chain    []extension // IPv6
	protocol *layers.IPProtocol
	edit     func(ip []byte) // of the bytes from the IP header on
	hardware net.HardwareAddr
	ack      uint32
	seq      uint32
}

type fragment struct {
	offset uint16 // in units of 8 bytes
	more   bool
	id     uint16
}

type extension struct {
	protocol layers.IPProtocol
	body     []byte // from the second byte on
}

// headers is how many bytes go before the TCP header's end, options left out.
func (p packet) headers() int {
	n := 14 + 4*len(p.tags) + 20
	if p.to.Addr().Is4() {
		return n + 20 + p.options
	}
	for _, e := range p.chain {
		n += 1 + len(e.body)
	}
	return n + 40
}

// reversed is the packet that goes the other way.
func (p packet) reversed() packet {
	p.from, p.to = p.to, p.from
	return p
}

// bytes serialises the packet; the destination's link-layer address is that of loopback.
func (p packet) bytes(t testing.TB) []byte {
	t.Helper()
	body := p.body(t)
	if p.edit != nil {
		p.edit(body)
	}
	return p.frame(t, body)
}

// body is the packet from the IP header on.
func (p packet) body(t testing.TB) []byte {
	if p.to.Addr().Is6() {
		return p.ipv6(t)
	}
	return p.ipv4(t)
}

// frame puts what goes before the IP header before it.
func (p packet) frame(t testing.TB, body []byte) []byte {
	t.Helper()
	ipType := layers.EthernetTypeIPv4
	if p.to.Addr().Is6() {
		ipType = layers.EthernetTypeIPv6
	}
	hardware := p.hardware
	if hardware == nil {
		hardware = make(net.HardwareAddr, 6)
	}
	eth := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: hardware, EthernetType: ipType}
	all := []gopacket.SerializableLayer{eth}
	outer := &eth.EthernetType
	for i, tag := range p.tags {
		q := &layers.Dot1Q{VLANIdentifier: uint16(100 + i), Type: ipType}
		*outer, outer = tag, &q.Type
		all = append(all, q)
	}
	return serialize(t, append(all, gopacket.Payload(body))...)
}

func serialize(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, all...); err != nil {
		t.Fatalf("making a packet: %v", err)
	}
	return buf.Bytes()
}

func (p packet) tcp(network gopacket.NetworkLayer) *layers.TCP {
	l := &layers.TCP{
		SrcPort: layers.TCPPort(p.from.Port()), DstPort: layers.TCPPort(p.to.Port()),
		Seq: p.seq, Ack: p.ack, Window: 65535,
	}
	for _, f := range p.flags {
		switch f {
		case 'S':
			l.SYN = true
		case 'A':
			l.ACK = true
		case 'F':
			l.FIN = true
		case 'R':
			l.RST = true
		case 'P':
			l.PSH = true
		}
	}
	for range p.tcpOpts {
		l.Options = append(l.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop})
	}
	_ = l.SetNetworkLayerForChecksum(network)
	return l
}

func (p packet) ipv4(t testing.TB) []byte {
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP,
		SrcIP: p.from.Addr().AsSlice(), DstIP: p.to.Addr().AsSlice(),
	}
	if p.options > 0 {
		ip.Options = []layers.IPv4Option{{OptionType: 0x94, OptionLength: uint8(p.options),
			OptionData: make([]byte, p.options-2)}}
	}
	if f := p.fragment; f != nil {
		ip.FragOffset, ip.Id = f.offset, f.id
		if f.more {
			ip.Flags = layers.IPv4MoreFragments
		}
	}
	if p.protocol != nil {
		ip.Protocol = *p.protocol
	}
	return serialize(t, ip, p.tcp(ip), gopacket.Payload(p.payload))
}

// ipv6 chains the extension headers by hand: each one's first byte is the next one's protocol.
func (p packet) ipv6(t testing.TB) []byte {
	ip := &layers.IPv6{
		Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP,
		SrcIP: p.from.Addr().AsSlice(), DstIP: p.to.Addr().AsSlice(),
	}
	last := layers.IPProtocolTCP
	if p.protocol != nil {
		last = *p.protocol
	}
	var chain []byte
	next := &ip.NextHeader
	*next = last
	var at []int
	for i, e := range p.chain {
		if i == 0 {
			ip.NextHeader = e.protocol
		}
		at = append(at, len(chain))
		chain = append(append(chain, byte(last)), e.body...)
	}
	for i := range len(at) - 1 {
		chain[at[i]] = byte(p.chain[i+1].protocol)
	}
	return serialize(t, ip, gopacket.Payload(append(chain, serialize(t, p.tcp(ip), gopacket.Payload(p.payload))...)))
}

// padding is an options header of so many times 8 bytes.
func padding(protocol layers.IPProtocol, eights int) extension {
	body := make([]byte, 8*eights-1)
	body[0] = byte(eights - 1)
	body[1], body[2] = 1, byte(8*eights-4) // PadN
	return extension{protocol, body}
}

func routing(left byte) extension {
	return extension{layers.IPProtocolIPv6Routing, []byte{0, 4, left, 0, 0, 0, 0}}
}

func fragmentHeader(offset uint16, more, id byte) extension {
	return extension{layers.IPProtocolIPv6Fragment,
		[]byte{0, byte(offset >> 5), byte(offset<<3) | more, 0, 0, 0, id}}
}

func authentication(words byte) extension {
	body := make([]byte, 4*(words+2)-1)
	body[0] = words
	return extension{layers.IPProtocolAH, body}
}

var (
	hop = layers.IPProtocolIPv6HopByHop
	dst = layers.IPProtocolIPv6Destination
	udp = layers.IPProtocolUDP
)

// stacks are all the wrappings that the programs know, and some that they must not fall for.
var stacks = []stack{
	{name: "ipv4", wrap: func(*packet) {}},
	{name: "ipv4 options", wrap: func(p *packet) { p.options = 40 }},
	{name: "ipv4 tcp options", wrap: func(p *packet) { p.tcpOpts = 40 }},
	{name: "ipv4 payload", wrap: func(p *packet) { p.payload = make([]byte, 1000) }},
	{name: "ipv4 vlan", wrap: func(p *packet) { p.tags = []layers.EthernetType{0x8100} }},
	{name: "ipv4 vlan options", wrap: func(p *packet) { p.tags = []layers.EthernetType{0x8100}; p.options = 8 }},
	{name: "ipv4 qinq", wrap: func(p *packet) { p.tags = []layers.EthernetType{0x88A8, 0x8100} }},
	{name: "ipv4 three tags", wrap: func(p *packet) { p.tags = []layers.EthernetType{0x88A8, 0x8100, 0x8100} }, want: isNone},
	{name: "ipv4 first fragment", wrap: func(p *packet) { p.fragment = &fragment{more: true, id: 1} }, want: isFirst},
	{name: "ipv4 last fragment", wrap: func(p *packet) { p.fragment = &fragment{offset: 100, id: 2} }, want: isLater},
	{name: "ipv4 udp", wrap: func(p *packet) { p.protocol = &udp }, want: isNone},
	{name: "ipv4 version 5", wrap: func(p *packet) { p.edit = func(ip []byte) { ip[0] = 0x55 } }, want: isMalformed},
	{name: "ipv4 short header", wrap: func(p *packet) { p.edit = func(ip []byte) { ip[0] = 0x44 } }, want: isMalformed},
	{name: "ipv4 short total length", wrap: func(p *packet) { p.edit = func(ip []byte) { ip[2], ip[3] = 0, 19 } }, want: isMalformed},
	{name: "ipv4 merged segment", wrap: func(p *packet) { p.edit = func(ip []byte) { ip[2], ip[3] = 0, 0 } }},
	{name: "ipv4 tcp short offset", wrap: func(p *packet) { p.edit = func(ip []byte) { ip[20+12] = 0x40 } }, want: isMalformed},
	{name: "ipv6", v6: true, wrap: func(*packet) {}},
	{name: "ipv6 vlan", v6: true, wrap: func(p *packet) { p.tags = []layers.EthernetType{0x8100} }},
	{name: "ipv6 qinq", v6: true, wrap: func(p *packet) { p.tags = []layers.EthernetType{0x88A8, 0x8100} }},
	{name: "ipv6 hop by hop", v6: true, wrap: func(p *packet) { p.chain = []extension{padding(hop, 1)} }},
	{name: "ipv6 destination", v6: true, wrap: func(p *packet) { p.chain = []extension{padding(dst, 3)} }},
	{name: "ipv6 routing used up", v6: true, wrap: func(p *packet) { p.chain = []extension{routing(0)} }},
	{name: "ipv6 routing", v6: true, wrap: func(p *packet) { p.chain = []extension{routing(1)} }, want: isNone},
	{name: "ipv6 authentication", v6: true, wrap: func(p *packet) { p.chain = []extension{authentication(4)} }},
	{name: "ipv6 whole with fragment header", v6: true, wrap: func(p *packet) { p.chain = []extension{fragmentHeader(0, 0, 1)} }},
	{name: "ipv6 first fragment", v6: true, wrap: func(p *packet) { p.chain = []extension{fragmentHeader(0, 1, 1)} }, want: isFirst},
	{name: "ipv6 last fragment", v6: true, wrap: func(p *packet) { p.chain = []extension{fragmentHeader(50, 0, 2)} }, want: isLater},
	{name: "ipv6 fragment behind options", v6: true, wrap: func(p *packet) { p.chain = []extension{padding(hop, 1), fragmentHeader(0, 1, 1)} }, want: isFirst},
	{name: "ipv6 fragment before options", v6: true, wrap: func(p *packet) { p.chain = []extension{fragmentHeader(0, 1, 1), padding(dst, 1)} }, want: isFirst},
	{name: "ipv6 fragment of udp", v6: true, wrap: func(p *packet) { p.chain = []extension{fragmentHeader(0, 1, 1)}; p.protocol = &udp }, want: isNone},
	{name: "ipv6 all in the recommended order", v6: true, wrap: func(p *packet) {
		p.chain = []extension{padding(hop, 1), padding(dst, 1), routing(0), fragmentHeader(0, 0, 1), authentication(4), padding(dst, 2)}
	}},
	{name: "ipv6 seven", v6: true, wrap: func(p *packet) { p.chain = repeat(padding(dst, 1), 7) }},
	{name: "ipv6 eight", v6: true, wrap: func(p *packet) { p.chain = repeat(padding(dst, 1), 8) }, want: isNone},
	{name: "ipv6 long", v6: true, wrap: func(p *packet) { p.chain = []extension{padding(dst, 32)} }},
	{name: "ipv6 vlan options", v6: true, wrap: func(p *packet) {
		p.tags = []layers.EthernetType{0x8100}
		p.chain = []extension{padding(hop, 2)}
	}},
	{name: "ipv6 udp", v6: true, wrap: func(p *packet) { p.protocol = &udp }, want: isNone},
	{name: "ipv6 version 4", v6: true, wrap: func(p *packet) { p.edit = func(ip []byte) { ip[0] = 0x40 } }, want: isMalformed},
}

func repeat(e extension, n int) (all []extension) {
	for range n {
		all = append(all, e)
	}
	return all
}
