// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sightglass/sightglass/handshake"
)

// sample picks cells until each peer has spoken each of its suites in each version, and each pair
// of peers has met in each way; in an order that mixes the rest, always the same.
func sample(cells []*cell) []*cell {
	mixed := slices.Clone(cells)
	slices.SortStableFunc(mixed, func(a, b *cell) int { return cmp.Compare(a.hash(), b.hash()) })
	seen := map[string]bool{}
	picked := map[*cell]bool{}
	for _, want := range []int{4, 3, 2, 1} {
		for _, c := range mixed {
			fresh := 0
			shows := c.shows()
			for _, s := range shows {
				if !seen[s] {
					fresh++
				}
			}
			if fresh < want {
				continue
			}
			picked[c] = true
			for _, s := range shows {
				seen[s] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(cells), func(c *cell) bool { return !picked[c] })
}

// hash spreads cells evenly (FNV-1a).
func (c *cell) hash() uint32 {
	h := uint32(2166136261)
	for _, b := range []byte(c.String()) {
		h = (h ^ uint32(b)) * 16777619
	}
	return h
}

// shows is what a cell is picked for. Nothing is expected of what the peers cannot do.
func (c *cell) shows() []string {
	if c.hopeless() {
		return nil
	}
	return []string{
		fmt.Sprintf("%s serves %x %x", c.server.name, c.version, c.suite),
		fmt.Sprintf("%s visits %x %x", c.client.name, c.version, c.suite),
		fmt.Sprintf("%s %s %v %t", c.server.name, c.client.name, c.resume, c.mutual),
		fmt.Sprintf("%s serves %x %v", c.server.name, c.version, c.off),
		fmt.Sprintf("%s visits %x %v", c.client.name, c.version, c.off),
	}
}

// hopeless reports whether the peers are known not to do this. The full matrix has them try.
func (c *cell) hopeless() bool {
	s, _ := handshake.SuiteByID(c.suite)
	java := c.server == javaPeer || c.client == javaPeer
	switch {
	case !c.server.resumes(c.resume) || !c.client.resumes(c.resume):
		return true
	case java && s.Export && c.version > handshake.TLS10, java && s.Cipher == handshake.CipherDESCBC && c.version > handshake.TLS11:
		return true // RFC 4346, Appendix A.5, and RFC 5246, Appendix A.5, drop them
	case c.server == javaPeer && c.resume != full:
		return !c.uses().ems // JSSE goes on with a full handshake (RFC 7627, Section 5.3)
	case c.client == javaPeer && c.server == goPeer:
		return c.resume != full // JSSE wants a session ID beside the ticket
	}
	return false
}
