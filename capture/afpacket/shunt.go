// SPDX-License-Identifier: Apache-2.0

//go:build linux

package afpacket

import (
	"net/netip"

	"github.com/sightglass/sightglass/bpf"
)

// Shunter is a table of flows, in the kernel, of which no packet is captured. It is what package
// capture asks for.
type Shunter struct{ *bpf.Shunt }

// Remove lets the flow's packets through again, and returns what was dropped of it.
func (s Shunter) Remove(client, server netip.AddrPort) (packets, bytes uint64, err error) {
	n, _, err := s.Shunt.Remove(client, server)
	return n.Packets, n.Bytes, err
}
