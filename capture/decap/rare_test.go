// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// dot11 is a data frame to an access point, up to its LLC and SNAP headers.
func dot11(etherType ...byte) []byte {
	head := []byte{0x08, 0x01, 0, 0}
	head = append(head, make([]byte, 20)...)
	return append(append(head, 0xaa, 0xaa, 3, 0, 0, 0), etherType...)
}

func TestRareLinks(t *testing.T) {
	fcs := []byte{1, 2, 3, 4}
	radio := []byte{0, 0, 8, 0, 0, 0, 0, 0}
	fddi := append([]byte{0x50}, append(make([]byte, 12), 0xaa, 0xaa, 3, 0, 0, 0, 8, 0)...)
	for name, test := range map[string]struct {
		link   layers.LinkType
		packet []byte
	}{
		"PPP":               {layers.LinkTypePPP, join([]byte{0, 0x21}, inner4(t))},
		"PPP IPv6":          {layers.LinkTypePPP, join([]byte{0, 0x57}, inner6(t))},
		"802.11":            {layers.LinkTypeIEEE802_11, join(dot11(8, 0), inner4(t), fcs)},
		"802.11 IPv6":       {layers.LinkTypeIEEE802_11, join(dot11(0x86, 0xdd), inner6(t), fcs)},
		"802.11 with radio": {layers.LinkTypeIEEE80211Radio, join(radio, dot11(8, 0), inner4(t), fcs)},
		"FDDI":              {layers.LinkTypeFDDI, join(fddi, inner4(t))},
	} {
		t.Run(name, func(t *testing.T) {
			if !KnownLink(uint16(test.link)) {
				t.Error("the link type is said to be unknown")
			}
			var d Decoder
			var seg Segment
			if res := d.Decode(uint16(test.link), test.packet, len(test.packet), 0, &seg); res != TCP {
				t.Fatalf("%v", res)
			}
			if string(seg.Payload) != string(payload) || seg.SrcPort != want.SrcPort || seg.Seq != want.Seq {
				t.Errorf("%+v", seg)
			}
			for n := range test.packet {
				d.Decode(uint16(test.link), test.packet[:n], len(test.packet), 0, &seg) // must not panic
			}
		})
	}
}
