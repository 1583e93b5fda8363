// SPDX-License-Identifier: Apache-2.0

package decap

// IP protocols.
const (
	protoHopByHop   = 0
	protoIPv4       = 4
	protoTCP        = 6
	protoUDP        = 17
	protoIPv6       = 41
	protoRouting    = 43
	protoFragment   = 44
	protoGRE        = 47
	protoAH         = 51
	protoDestOpts   = 60
	protoMobility   = 135
	protoMPLS       = 137
	protoHIP        = 139
	protoShim6      = 140
	protoEthernet   = 143
	flagMore        = 0x2000
	maskOffset      = 0x1fff
	maxIPLen        = 1<<16 - 1
	ipv6HeaderLen   = 40
	fragmentHeadLen = 8
)

// protocol finds the layer of an IP protocol or IPv6 next header.
func (s *state) protocol(proto uint8) Result {
	s.proto = proto
	switch proto {
	case protoTCP:
		s.next = layerTCP
	case protoUDP:
		s.next = layerUDP
	case protoIPv4:
		s.next = layerIPv4
	case protoIPv6:
		s.next = layerIPv6
	case protoGRE:
		s.next = layerGRE
	case protoMPLS:
		s.next = layerMPLS
	case protoEthernet:
		s.next = layerEthernet
	case protoHopByHop, protoRouting, protoDestOpts, protoMobility, protoHIP, protoShim6:
		s.next = layerHopByHop
	case protoFragment:
		s.next = layerFragment
	case protoAH:
		s.next = layerAuthentication
	default:
		return Other
	}
	return TCP
}

func (d *Decoder) ip(s *state) Result {
	if len(s.b) < 1 {
		return s.short(1)
	}
	version := s.b[0] >> 4
	switch {
	case version == 4 && s.next != layerIPv6:
		return d.ipv4(s)
	case version == 6 && s.next != layerIPv4:
		return s.ipv6()
	}
	return Malformed
}

// ipv4 reads an IPv4 header (RFC 791, Section 3.1).
func (d *Decoder) ipv4(s *state) Result {
	before := s.wire
	h := s.pull(20)
	if h == nil {
		return s.short(20)
	}
	head, total := int(h[0]&15)*4, int(be16(h[2:]))
	if total == 0 {
		total = before // a segment of 64 KiB or more that was captured before it was cut
	}
	if head < 20 || total < head {
		return Malformed
	}
	s.limit(total - 20)
	if head > 20 && s.pull(head-20) == nil {
		return Truncated
	}
	s.src, s.dst = mapped(be32(h[12:])), mapped(be32(h[16:]))
	fragment := be16(h[6:])
	if fragment&(flagMore|maskOffset) == 0 {
		return s.protocol(h[9])
	}
	key := fragmentKey{src: s.src, dst: s.dst, id: uint32(be16(h[4:])), proto: h[9], v4: true}
	return d.reassemble(s, key, int(fragment&maskOffset)*8, fragment&flagMore != 0)
}

func mapped(v4 uint32) Addr { return Addr{Low: 0xffff<<32 | uint64(v4)} }

// ipv6 reads an IPv6 header (RFC 8200, Section 3).
func (s *state) ipv6() Result {
	h := s.pull(ipv6HeaderLen)
	if h == nil {
		return s.short(ipv6HeaderLen)
	}
	// A length of 0 is a jumbogram's (RFC 2675), or a merged segment's of 64 KiB or more.
	if n := int(be16(h[4:])); n > 0 {
		s.limit(n)
	}
	s.src, s.dst = AddrFrom16([16]byte(h[8:24])), AddrFrom16([16]byte(h[24:40]))
	return s.protocol(h[6])
}

// extension passes over an extension header, whose second byte counts units beyond its first 8 bytes
// (RFC 8200, Section 4.2; RFC 4302, Section 2.2 for the authentication header).
func (s *state) extension(unit int) Result {
	if len(s.b) < 2 {
		return s.short(2)
	}
	next, n := s.b[0], 8+int(s.b[1])*unit
	if s.pull(n) == nil {
		return s.short(n)
	}
	return s.protocol(next)
}

// fragment6 reads a fragment header (RFC 8200, Section 4.5).
func (d *Decoder) fragment6(s *state) Result {
	h := s.pull(fragmentHeadLen)
	if h == nil {
		return s.short(fragmentHeadLen)
	}
	field := be16(h[2:])
	offset, more := int(field&^7), field&1 != 0
	if offset == 0 && !more {
		return s.protocol(h[0]) // an atomic fragment (RFC 6946)
	}
	key := fragmentKey{src: s.src, dst: s.dst, id: be32(h[4:]), proto: h[0]}
	return d.reassemble(s, key, offset, more)
}
