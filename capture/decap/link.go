// SPDX-License-Identifier: Apache-2.0

package decap

// Link types that are read (the registry of link-layer header types, LINKTYPE_ and DLT_ values).
const (
	LinkNull     = 0 // BSD loopback, in the byte order of the machine that captured
	LinkEthernet = 1
	linkRaw12    = 12
	linkRaw14    = 14
	LinkRaw      = 101
	LinkLoop     = 108 // BSD loopback, in network byte order
	LinkSLL      = 113 // Linux cooked
	LinkIPv4     = 228
	LinkIPv6     = 229
	LinkSLL2     = 276 // Linux cooked, version 2
)

// KnownLink reports whether packets of a link type are read.
func KnownLink(link uint16) bool {
	if _, ok := rare[link]; ok {
		return true
	}
	return (&state{b: make([]byte, 24), wire: 24, seg: new(Segment)}).link(link) != UnknownLink
}

// link finds what follows the link layer's own header.
func (s *state) link(link uint16) Result {
	switch link {
	case LinkEthernet:
		s.next = layerEthernet
	case linkRaw12, linkRaw14, LinkRaw:
		s.next = layerIP
	case LinkIPv4:
		s.next = layerIPv4
	case LinkIPv6:
		s.next = layerIPv6
	case LinkNull, LinkLoop:
		return s.loopback()
	case LinkSLL:
		return s.cooked(16, 14)
	case LinkSLL2:
		return s.cooked(20, 0)
	default:
		if r, ok := rare[link]; ok {
			return s.rareLink(r)
		}
		return UnknownLink
	}
	return TCP
}

// loopback reads the address family before an IP packet. Systems number IPv6 differently, and the
// byte order is the one of the machine that wrote the file, so that either is taken.
func (s *state) loopback() Result {
	h := s.pull(4)
	if h == nil {
		return s.short(4)
	}
	family := be32(h)
	if family&0xffff == 0 {
		family = uint32(h[0]) | uint32(h[1])<<8
	}
	switch family {
	case 2:
		s.next = layerIPv4
	case 10, 24, 28, 30: // Linux, NetBSD and OpenBSD, FreeBSD, macOS
		s.next = layerIPv6
	default:
		return Other
	}
	return TCP
}

// cooked reads a header of n bytes that has the protocol at the given place.
func (s *state) cooked(n, protocol int) Result {
	h := s.pull(n)
	if h == nil {
		return s.short(n)
	}
	return s.etherType(be16(h[protocol:]))
}

// EtherTypes.
const (
	etherIPv4     = 0x0800
	etherVLAN     = 0x8100
	etherIPv6     = 0x86dd
	etherMPLS     = 0x8847
	etherMPLSMany = 0x8848
	etherPPPoE    = 0x8864
	etherQinQ     = 0x88a8
	etherPPP      = 0x880b
	etherBridged  = 0x6558 // transparent Ethernet bridging
	etherERSPAN   = 0x88be // types I and II
	etherERSPAN3  = 0x22eb
)

func (s *state) etherType(t uint16) Result {
	switch t {
	case etherIPv4:
		s.next = layerIPv4
	case etherIPv6:
		s.next = layerIPv6
	case etherVLAN, etherQinQ, 0x9100, 0x9200, 0x9300: // the last three were used before 802.1ad
		s.next = layerVLAN
	case etherMPLS, etherMPLSMany:
		s.next = layerMPLS
	case etherPPPoE:
		s.next = layerPPPoE
	case etherPPP:
		s.next = layerPPP
	case etherBridged:
		s.next = layerEthernet
	default:
		return Other
	}
	return TCP
}

func (s *state) ethernet() Result {
	h := s.pull(14)
	if h == nil {
		return s.short(14)
	}
	t := be16(h[12:])
	if t > 1500 {
		return s.etherType(t)
	}
	// IEEE 802.3 with a length: only SNAP with an EtherType may carry IP (RFC 1042).
	s.limit(min(int(t), s.wire))
	h = s.pull(8)
	if h == nil || h[0] != 0xaa || h[1] != 0xaa || h[2] != 3 || h[3]|h[4]|h[5] != 0 {
		return Other
	}
	return s.etherType(be16(h[6:]))
}

func (s *state) vlan() Result {
	h := s.pull(4)
	if h == nil {
		return s.short(4)
	}
	if s.seg.VLAN == 0 {
		s.seg.VLAN = be16(h) & 0xfff
	}
	return s.etherType(be16(h[2:]))
}

// mpls reads one label (RFC 3032). What the last one carries has to be guessed: IP, or Ethernet of a
// pseudowire, with a control word or without (RFC 4448, Section 4.6; RFC 4928).
func (s *state) mpls() Result {
	h := s.pull(4)
	if h == nil {
		return s.short(4)
	}
	if h[2]&1 == 0 {
		return TCP
	}
	if len(s.b) < 1 {
		return s.short(1)
	}
	switch {
	case s.plausibleIPv4():
		s.next = layerIPv4
	case s.plausibleIPv6():
		s.next = layerIPv6
	case s.b[0]>>4 == 0:
		s.pull(min(4, len(s.b)))
		s.next = layerEthernet
	default:
		s.next = layerEthernet
	}
	return TCP
}

func (s *state) plausibleIPv4() bool {
	return len(s.b) >= 20 && s.b[0]>>4 == 4 && s.b[0]&15 >= 5 && int(be16(s.b[2:])) <= s.wire
}

func (s *state) plausibleIPv6() bool {
	return len(s.b) >= 40 && s.b[0]>>4 == 6 && int(be16(s.b[4:])) <= s.wire-40
}

// pppoe reads the header of a session packet (RFC 2516, Section 4).
func (s *state) pppoe() Result {
	h := s.pull(6)
	if h == nil {
		return s.short(6)
	}
	if h[0] != 0x11 || h[1] != 0 {
		return Other
	}
	s.limit(min(int(be16(h[4:])), s.wire))
	s.next = layerPPP
	return TCP
}

// ppp reads address and control, if they are there, and the protocol, which may be compressed to
// one byte (RFC 1661, Section 6.5; RFC 1662).
func (s *state) ppp() Result {
	if len(s.b) >= 2 && s.b[0] == 0xff && s.b[1] == 3 {
		s.pull(2)
	}
	h := s.pull(1)
	if h == nil {
		return s.short(1)
	}
	protocol := uint16(h[0])
	if protocol&1 == 0 {
		low := s.pull(1)
		if low == nil {
			return s.short(1)
		}
		protocol = protocol<<8 | uint16(low[0])
	}
	switch protocol {
	case 0x21:
		s.next = layerIPv4
	case 0x57:
		s.next = layerIPv6
	case 0x281, 0x283:
		s.next = layerMPLS
	default:
		return Other
	}
	return TCP
}
