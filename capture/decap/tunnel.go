// SPDX-License-Identifier: Apache-2.0

package decap

// UDP ports of tunnels. A tunnel's header has to look right too, since any program may use a port.
const (
	portGeneve     = 6081
	portVXLAN      = 4789
	portVXLANLinux = 8472 // Linux' default, older than the registration
)

func (s *state) udp() Result {
	h := s.pull(8)
	if h == nil {
		return s.short(8)
	}
	switch be16(h[2:]) {
	case portVXLAN, portVXLANLinux:
		return s.vxlan()
	case portGeneve:
		return s.geneve()
	}
	return Other
}

// vxlan reads a VXLAN header (RFC 7348, Section 5).
func (s *state) vxlan() Result {
	h := s.pull(8)
	if h == nil {
		return s.short(8)
	}
	// Only the flag that says there is a network identifier, and perhaps those of the extension
	// for group policy, are set.
	if h[0]&0x7f != 0x08 {
		return Other
	}
	s.next = layerEthernet
	return TCP
}

// geneve reads a Geneve header (RFC 8926, Section 3.4).
func (s *state) geneve() Result {
	h := s.pull(8)
	if h == nil {
		return s.short(8)
	}
	if h[0]>>6 != 0 || h[1]&0x80 != 0 { // another version, or a control packet
		return Other
	}
	if n := int(h[0]&0x3f) * 4; s.pull(n) == nil {
		return s.short(n)
	}
	return s.etherType(be16(h[2:]))
}

// Flags of a GRE header (RFC 2784, RFC 2890, RFC 2637).
const (
	greChecksum = 0x8000
	greRouting  = 0x4000
	greKey      = 0x2000
	greSequence = 0x1000
	greAck      = 0x0080 // version 1 only
)

// gre reads a GRE header, of version 0 or, for PPTP, 1.
func (s *state) gre() Result {
	h := s.pull(4)
	if h == nil {
		return s.short(4)
	}
	flags, protocol := be16(h), be16(h[2:])
	if flags&7 > 1 || flags&greRouting != 0 {
		return Other
	}
	n := 0
	for _, f := range [...]uint16{greChecksum, greKey, greSequence, greAck} {
		if flags&f != 0 {
			n += 4
		}
	}
	if s.pull(n) == nil {
		return s.short(n)
	}
	switch protocol {
	case etherERSPAN:
		// Type I has no header of its own; types II and III number their packets.
		s.next = layerEthernet
		if flags&greSequence != 0 {
			s.next = layerERSPAN2
		}
		return TCP
	case etherERSPAN3:
		s.next = layerERSPAN3
		return TCP
	}
	return s.etherType(protocol)
}

// erspan2 reads an ERSPAN type II header (draft-foschiano-erspan).
func (s *state) erspan2() Result {
	h := s.pull(8)
	if h == nil {
		return s.short(8)
	}
	if h[0]>>4 != 1 {
		return Other
	}
	s.next = layerEthernet
	return TCP
}

// erspan3 reads an ERSPAN type III header: 12 bytes, and 8 more if its last bit says so.
func (s *state) erspan3() Result {
	h := s.pull(12)
	if h == nil {
		return s.short(12)
	}
	if h[0]>>4 != 2 {
		return Other
	}
	if h[11]&1 != 0 && s.pull(8) == nil {
		return s.short(8)
	}
	s.next = layerEthernet
	if frame := h[10] >> 3 & 0x1f; frame == 2 { // the frame type: IP without Ethernet
		s.next = layerIP
	}
	return TCP
}
