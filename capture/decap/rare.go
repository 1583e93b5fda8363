// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// rare are the link types whose headers are left to gopacket: packets of these come a few at a time,
// and their headers are many. Everything from the IP header on is read here.
var rare = map[uint16]layers.LinkType{
	9:   layers.LinkTypePPP,
	10:  layers.LinkTypeFDDI,
	105: layers.LinkTypeIEEE802_11,
	117: layers.LinkTypePFLog,
	119: layers.LinkTypePrismHeader,
	127: layers.LinkTypeIEEE80211Radio,
}

// rareLink finds the IP packet behind a link layer of another kind. gopacket turns its own panics
// into an error layer, and looks no further than the first network layer.
func (s *state) rareLink(link layers.LinkType) Result {
	p := gopacket.NewPacket(s.b, link, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	network := p.NetworkLayer()
	if network == nil {
		return Other
	}
	at := 0
	for _, l := range p.Layers() {
		if l == gopacket.Layer(network) {
			break
		}
		at += len(l.LayerContents())
	}
	// Layers that check a trailer, or decrypt, have contents that are not what stands here.
	if at > len(s.b) || !bytes.HasPrefix(s.b[at:], network.LayerContents()) {
		return Other
	}
	s.pull(at)
	s.next = layerIP
	return TCP
}
