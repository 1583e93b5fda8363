// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"encoding/binary"
	"net/netip"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
	"github.com/sightglass/sightglass/sink/internal/inetsum"
)

// Sizes and limits of the packets made.
const (
	defaultMTU  = 1500
	etherLen    = 14
	vlanLen     = 4
	ip4Len      = 20
	ip6Len      = 40
	tcpLen      = 20
	synOptions  = 8  // maximum segment size, window scale
	blockHead   = 28 // room in front of a packet for the head of a pcapng block
	maxHeaders  = etherLen + vlanLen + ip6Len + tcpLen + synOptions
	ackSegments = 32 // segments between two acknowledgements, as offloading stacks do
	windowScale = 14 // the most there is (RFC 7323, Section 2.3): a hole must fit the window
	maxHole     = 1 << 29
)

// TCP flags (RFC 9293, Section 3.1).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// A conversation is the TCP connection as which a flow's plaintext is shown. Its addresses and
// ports are the flow's; sequence numbers count plaintext.
type conversation struct {
	flow   uint64
	addr   [2]netip.Addr // both IPv4 or both IPv6
	port   [2]uint16
	vlan   uint16
	mss    int
	iface  uint32
	next   [2]uint32 // next sequence number
	pseudo uint64    // sum of the pseudo-header but for its length
	ipid   [2]uint16
	fin    [2]bool
	reset  bool
	clock  clock
	last   int64 // the packet's time

	buf     [blockHead + maxHeaders]byte
	n       int // length of the headers in buf, from blockHead
	end     [8]byte
	options [synOptions]byte
	comment string // for the next packet
}

// headers returns the packet's headers, from the Ethernet header on.
func (c *conversation) headers() []byte { return c.buf[blockHead : blockHead+c.n] }

// A packetOut takes packets: the headers are in the conversation, the payload in the event.
type packetOut interface {
	// begin is called once, before a conversation's first packet.
	begin(c *conversation, f *session.Flow)
	packet(c *conversation, payload []byte)
}

// packetiser turns the events of flows into TCP packets. A flow appears with its first plaintext
// or once its handshake was verified: what could not be read is not shown as an empty connection.
type packetiser struct {
	flows FlowTable[conversation]
	mtu   int
	out   packetOut
}

func (p *packetiser) event(e *session.Event) {
	var c *conversation
	switch e.Kind {
	case session.KindEnd:
		p.flows.Remove(e.Flow.ID)
		return
	case session.KindEstablished, session.KindData, session.KindGap:
		if c = p.flows.Get(e.Flow.ID); c == nil {
			c = p.open(e)
		}
	case session.KindFin, session.KindReset:
		c = p.flows.Get(e.Flow.ID)
	}
	if c == nil || c.reset {
		return
	}
	c.last = c.clock.at(e.Time)
	switch e.Kind {
	case session.KindData:
		p.data(c, e.Side, e.Data)
	case session.KindGap:
		p.gap(c, e.Side, e.Lost)
	case session.KindFin:
		p.finish(c, e.Side)
	case session.KindReset:
		c.reset = true
		p.send(c, e.Side, flagRST|flagACK, nil)
	}
}

// open shows the three-way handshake.
func (p *packetiser) open(e *session.Event) *conversation {
	c := newConversation(e.Flow, p.mtu)
	c.last = c.clock.at(e.Time)
	p.flows.Put(e.Flow.ID, c)
	p.out.begin(c, e.Flow)
	p.send(c, handshake.Client, flagSYN, nil)
	c.next[handshake.Client]++
	p.send(c, handshake.Server, flagSYN|flagACK, nil)
	c.next[handshake.Server]++
	p.send(c, handshake.Client, flagACK, nil)
	return c
}

func newConversation(f *session.Flow, mtu int) *conversation {
	c := &conversation{
		flow: f.ID, vlan: f.VLAN & 0x0fff,
		addr: [2]netip.Addr{f.Client.Addr().WithZone("").Unmap(), f.Server.Addr().WithZone("").Unmap()},
		port: [2]uint16{f.Client.Port(), f.Server.Port()},
	}
	for side, a := range c.addr {
		if !a.IsValid() {
			c.addr[side] = netip.IPv4Unspecified()
		}
	}
	if c.addr[0].Is4() != c.addr[1].Is4() { // a fixed upstream may change the family
		for side, a := range c.addr {
			c.addr[side] = netip.AddrFrom16(a.As16())
		}
	}
	c.mss = mtu - ip6Len - tcpLen
	if c.addr[0].Is4() {
		c.mss = mtu - ip4Len - tcpLen
	}
	var sum uint64
	for _, a := range c.addr {
		b := a.As16() // the sum of the prefix of a mapped IPv4 address must not count
		if a.Is4() {
			sum = inetsum.Add(sum, b[12:])
		} else {
			sum = inetsum.Add(sum, b[:])
		}
	}
	c.pseudo = sum>>32 + sum&0xffffffff + 6 // so small that adding a length cannot overflow
	for side := range c.next {
		c.next[side] = initialSequence(f.ID, uint64(side))
		c.ipid[side] = uint16(c.next[side])
	}
	return c
}

// initialSequence spreads the flows' sequence numbers, the same in each run.
func initialSequence(flow, side uint64) uint32 {
	x := (flow*2 + side + 1) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	return uint32(x * 0xbf58476d1ce4e5b9 >> 32)
}

// data shows b in segments, acknowledged at its end and within every 32.
func (p *packetiser) data(c *conversation, side handshake.Side, b []byte) {
	if c.fin[side] {
		return
	}
	for n := 1; len(b) > 0; n++ {
		seg := b[:min(len(b), c.mss)]
		b = b[len(seg):]
		flags := byte(flagACK)
		if len(b) == 0 {
			flags |= flagPSH
		}
		p.send(c, side, flags, seg)
		c.next[side] += uint32(len(seg))
		if len(b) == 0 || n%ackSegments == 0 {
			p.send(c, side.Opposite(), flagACK, nil)
		}
	}
}

// gap leaves a hole in the sequence numbers, so that readers see a lost segment, and has the
// receiver acknowledge it, so that they do not wait for it. A hole of unknown size is one byte.
func (p *packetiser) gap(c *conversation, side handshake.Side, lost int) {
	if c.fin[side] {
		return
	}
	c.next[side] += uint32(min(max(lost, 1), maxHole))
	p.send(c, side.Opposite(), flagACK, nil)
}

func (p *packetiser) finish(c *conversation, side handshake.Side) {
	if c.fin[side] {
		return
	}
	p.send(c, side, flagFIN|flagACK, nil)
	c.fin[side] = true
	c.next[side]++
	p.send(c, side.Opposite(), flagACK, nil)
}

// send builds the headers of one packet and hands it on.
func (p *packetiser) send(c *conversation, side handshake.Side, flags byte, payload []byte) {
	b := appendEther(c.buf[:blockHead], c, side)
	tcp := tcpLen
	if flags&flagSYN != 0 {
		tcp += synOptions
	}
	if c.addr[0].Is4() {
		b = appendIP4(b, c, side, tcp+len(payload))
	} else {
		b = appendIP6(b, c, side, tcp+len(payload))
	}
	b = appendTCP(b, c, side, flags, payload)
	c.n = len(b) - blockHead
	p.out.packet(c, payload)
}

// appendEther appends an Ethernet header of locally administered addresses, which name the side.
func appendEther(b []byte, c *conversation, side handshake.Side) []byte {
	from, to := byte(side)+1, byte(side.Opposite())+1
	b = append(b, 2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from)
	if c.vlan != 0 { // IEEE 802.1Q
		b = append(b, 0x81, 0, byte(c.vlan>>8), byte(c.vlan))
	}
	if c.addr[0].Is4() {
		return append(b, 0x08, 0x00)
	}
	return append(b, 0x86, 0xdd)
}

// appendIP4 appends an IPv4 header (RFC 791, Section 3.1): no fragments, TTL 64, TCP. Its checksum is
// the pseudo-header's, which has addresses and protocol, and the rest.
func appendIP4(b []byte, c *conversation, side handshake.Side, n int) []byte {
	c.ipid[side]++
	total, id := uint16(ip4Len+n), c.ipid[side]
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, total)
	b = binary.BigEndian.AppendUint16(b, id)
	b = append(b, 0x40, 0, 64, 6)
	b = binary.BigEndian.AppendUint16(b, inetsum.Fold(c.pseudo+0x4500+uint64(total)+uint64(id)+0x4000+64<<8))
	src, dst := c.addr[side].As4(), c.addr[side.Opposite()].As4()
	return append(append(b, src[:]...), dst[:]...)
}

// appendIP6 appends an IPv6 header (RFC 8200, Section 3).
func appendIP6(b []byte, c *conversation, side handshake.Side, n int) []byte {
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, 6, 64)
	src, dst := c.addr[side].As16(), c.addr[side.Opposite()].As16()
	return append(append(b, src[:]...), dst[:]...)
}

// appendTCP appends a TCP header (RFC 9293, Section 3.1) with the checksum over payload.
func appendTCP(b []byte, c *conversation, side handshake.Side, flags byte, payload []byte) []byte {
	const window = 0xffff
	peer := side.Opposite()
	var options []byte
	if flags&flagSYN != 0 {
		options = append(c.options[:0], 2, 4, byte(c.mss>>8), byte(c.mss), 1, 3, 3, windowScale)
	}
	n := tcpLen + len(options)
	seq, ack := c.next[side], c.next[peer]
	if flags&flagACK == 0 {
		ack = 0
	}
	offset := uint16(n/4)<<12 | uint16(flags)
	sum := c.pseudo + uint64(n+len(payload)) + uint64(c.port[side]) + uint64(c.port[peer]) +
		uint64(seq) + uint64(ack) + uint64(offset) + window
	sum = inetsum.Add(inetsum.Add(sum, options), payload)
	b = binary.BigEndian.AppendUint16(b, c.port[side])
	b = binary.BigEndian.AppendUint16(b, c.port[peer])
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = binary.BigEndian.AppendUint16(b, offset)
	b = binary.BigEndian.AppendUint16(b, window)
	b = binary.BigEndian.AppendUint16(b, inetsum.Fold(sum))
	return append(append(b, 0, 0), options...)
}
