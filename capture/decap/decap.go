// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"cmp"
	"encoding/binary"
	"net/netip"
)

// Addr is an IPv6 address, or an IPv4 address in its IPv4-mapped form (RFC 4291, Section 2.5.5.2), as two
// words in the order of its bytes, which a processor keeps in registers.
type Addr struct{ High, Low uint64 }

// AddrFrom16 returns the address of 16 bytes.
func AddrFrom16(b [16]byte) Addr {
	return Addr{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

// Netip returns the address.
func (a Addr) Netip() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.High)
	binary.BigEndian.PutUint64(b[8:], a.Low)
	return netip.AddrFrom16(b).Unmap()
}

// Compare orders addresses as their bytes.
func (a Addr) Compare(b Addr) int {
	if c := cmp.Compare(a.High, b.High); c != 0 {
		return c
	}
	return cmp.Compare(a.Low, b.Low)
}

// Flags are the flags of a TCP segment (RFC 9293, Section 3.1).
type Flags uint8

// The flags that matter here.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Segment is the TCP segment found in a packet.
type Segment struct {
	Src, Dst         Addr
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            Flags
	// VLAN is the outermost VLAN's identifier; 0: none.
	VLAN uint16
	// Payload is what was captured, Missing how many bytes of the segment's end were not.
	Payload []byte
	Missing int
	// Copied says that Payload is not in the packet's buffer but in one of its own, which the
	// segment owns: it was put together from fragments.
	Copied bool
}

// Result says what a packet was.
type Result uint8

// The results.
const (
	TCP         Result = iota // the segment is filled in
	Other                     // anything else that is in order
	Fragment                  // a fragment of a datagram that is not complete yet
	Malformed                 // headers that contradict each other
	Truncated                 // cut before the end of the headers
	TooDeep                   // more layers than maxLayers
	UnknownLink               // a link type that is not read here
	NumResults  = iota        // how many there are
)

var resultNames = [NumResults]string{
	"tcp", "other", "fragment", "malformed", "truncated", "too_deep", "unknown_link",
}

// String returns the result's word.
func (r Result) String() string { return resultNames[min(int(r), NumResults-1)] }

// maxLayers bounds headers, tags, labels and extension headers together.
const maxLayers = 32

// maxMissing bounds what a packet may claim beyond what was captured of it: no segment is larger,
// even one merged by a network card (BIG TCP).
const maxMissing = 1 << 20

// layer says what comes next in a packet.
type layer uint8

const (
	layerNone layer = iota // nothing that is followed
	layerEthernet
	layerIP // IPv4 or IPv6, as its first half byte says
	layerIPv4
	layerIPv6
	layerVLAN
	layerMPLS
	layerPPPoE
	layerPPP
	layerGRE
	layerERSPAN2
	layerERSPAN3
	layerUDP
	layerTCP
	layerHopByHop // an IPv6 extension header that has a length in units of 8 bytes
	layerFragment
	layerAuthentication
)

// Decoder decodes packets. The zero value is ready, and keeps fragments between packets. It is not
// safe for concurrent use.
type Decoder struct {
	frags fragments
}

// state is where the decoding of one packet stands.
type state struct {
	b     []byte // what was captured from here on
	wire  int    // what was on the wire from here on, at least len(b)
	next  layer
	proto uint8 // the IP protocol that led to next
	depth int
	now   int64
	src   Addr
	dst   Addr
	seg   *Segment
	own   bool // b is a buffer of its own
}

// Decode finds the TCP segment in a packet that begins with a header of the given link type. wire
// is its length on the wire and now its time in nanoseconds. seg is only valid if the result is TCP.
func (d *Decoder) Decode(link uint16, b []byte, wire int, now int64, seg *Segment) Result {
	if link == LinkEthernet && seg.common(b) {
		return TCP
	}
	return d.decode(link, b, wire, now, seg)
}

// decode is Decode, layer by layer.
func (d *Decoder) decode(link uint16, b []byte, wire int, now int64, seg *Segment) Result {
	var s state // not a literal, which would be copied before the processor has written it
	s.b, s.wire, s.now, s.seg = b, max(wire, len(b)), now, seg
	seg.VLAN = 0
	if res := s.link(link); res != TCP {
		return res
	}
	for s.depth = 0; s.depth < maxLayers; s.depth++ {
		if s.next == layerTCP {
			return s.tcp()
		}
		if res := d.step(&s); res != TCP {
			return res
		}
	}
	return TooDeep
}

// common takes what nearly all packets are, Ethernet, IPv4 and TCP with nothing between them, whole and no
// fragment, in a third of the time. It reports whether b is one.
func (seg *Segment) common(b []byte) bool {
	const ip, tcp = 14, 14 + 20
	if len(b) < tcp+20 || be16(b[ip-2:]) != etherIPv4 || b[ip] != 0x45 || b[ip+9] != protoTCP ||
		be16(b[ip+6:])&(flagMore|maskOffset) != 0 {
		return false
	}
	end, payload := ip+int(be16(b[ip+2:])), tcp+int(b[tcp+12]>>4)*4
	if end > len(b) || payload > end || payload < tcp+20 {
		return false
	}
	seg.Src, seg.Dst = mapped(be32(b[ip+12:])), mapped(be32(b[ip+16:]))
	seg.SrcPort, seg.DstPort = be16(b[tcp:]), be16(b[tcp+2:])
	seg.Seq, seg.Ack = be32(b[tcp+4:]), be32(b[tcp+8:])
	seg.Flags = Flags(b[tcp+13]) & (FIN | SYN | RST | PSH | ACK)
	seg.VLAN = 0
	seg.Payload, seg.Missing, seg.Copied = b[payload:end], 0, false
	return true
}

// step decodes one layer. It returns TCP to go on.
func (d *Decoder) step(s *state) Result {
	switch s.next {
	case layerEthernet:
		return s.ethernet()
	case layerIP, layerIPv4, layerIPv6:
		return d.ip(s)
	case layerVLAN:
		return s.vlan()
	case layerMPLS:
		return s.mpls()
	case layerPPPoE:
		return s.pppoe()
	case layerPPP:
		return s.ppp()
	case layerGRE:
		return s.gre()
	case layerERSPAN2:
		return s.erspan2()
	case layerERSPAN3:
		return s.erspan3()
	case layerUDP:
		return s.udp()
	case layerHopByHop:
		return s.extension(8)
	case layerAuthentication:
		return s.extension(4)
	case layerFragment:
		return d.fragment6(s)
	}
	return Other
}

// pull removes n bytes from the front and returns them, or nil if they are not all there.
func (s *state) pull(n int) []byte {
	if len(s.b) < n {
		return nil
	}
	h := s.b[:n]
	s.b = s.b[n:]
	s.wire -= n
	return h
}

// limit cuts what follows to n bytes on the wire. If that is more than there was, the rest is
// missing.
func (s *state) limit(n int) {
	s.wire = n
	if len(s.b) > n {
		s.b = s.b[:n]
	}
}

// short says what it means that a header is not all there.
func (s *state) short(n int) Result {
	if s.wire < n {
		return Malformed
	}
	return Truncated
}

// tcp reads the TCP header (RFC 9293, Section 3.1).
func (s *state) tcp() Result {
	h := s.pull(20)
	if h == nil {
		return s.short(20)
	}
	options := int(h[12]>>4)*4 - 20
	if options < 0 || options > s.wire {
		return Malformed
	}
	if options > len(s.b) {
		return Truncated
	}
	s.pull(options)
	missing := s.wire - len(s.b)
	if missing > maxMissing {
		return Malformed
	}
	seg := s.seg
	seg.Src, seg.Dst = s.src, s.dst
	seg.SrcPort, seg.DstPort = be16(h), be16(h[2:])
	seg.Seq, seg.Ack = be32(h[4:]), be32(h[8:])
	seg.Flags = Flags(h[13]) & (FIN | SYN | RST | PSH | ACK)
	seg.Payload, seg.Missing, seg.Copied = s.b, missing, s.own
	return TCP
}

func be16(b []byte) uint16 { return uint16(b[1]) | uint16(b[0])<<8 }

func be32(b []byte) uint32 {
	return uint32(b[3]) | uint32(b[2])<<8 | uint32(b[1])<<16 | uint32(b[0])<<24
}
