// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"math/bits"
	"net/netip"

	"github.com/sightglass/sightglass/capture/decap"
)

// flowKey names a connection: the lesser endpoint first, so that both directions have one key.
type flowKey struct {
	addr [2]decap.Addr
	port [2]uint16
}

// set makes k the key of a segment and returns its direction: 0 from the first endpoint, 1 from the
// second.
func (k *flowKey) set(s *decap.Segment) int {
	order := s.Src.Compare(s.Dst)
	if order < 0 || order == 0 && s.SrcPort <= s.DstPort {
		k.addr[0], k.addr[1], k.port[0], k.port[1] = s.Src, s.Dst, s.SrcPort, s.DstPort
		return 0
	}
	k.addr[0], k.addr[1], k.port[0], k.port[1] = s.Dst, s.Src, s.DstPort, s.SrcPort
	return 1
}

// is reports whether two keys are the same, sooner than == does.
func (k *flowKey) is(l *flowKey) bool {
	return k.addr[0].Low == l.addr[0].Low && k.addr[1].Low == l.addr[1].Low && k.port == l.port &&
		k.addr[0].High == l.addr[0].High && k.addr[1].High == l.addr[1].High
}

// endpoint returns an end of the connection.
func (k *flowKey) endpoint(i int) netip.AddrPort {
	return netip.AddrPortFrom(k.addr[i].Netip(), k.port[i])
}

// hash spreads flows. A seed that is not known outside keeps a sender from choosing where its go.
func (k *flowKey) hash(seed uint64) uint64 {
	h := seed
	for i := range k.addr {
		h = mix(h^k.addr[i].High, k.addr[i].Low^0x9e3779b97f4a7c15)
	}
	return mix(h^uint64(k.port[0])<<16^uint64(k.port[1]), 0xbf58476d1ce4e5b9)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
