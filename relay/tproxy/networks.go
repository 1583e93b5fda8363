// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"cmp"
	"net/netip"
	"slices"
)

// addrRange is the addresses from first to last, both included, for which one rule decides.
type addrRange struct {
	first, last netip.Addr
	rule        int // its place in the list
}

// decided returns which rule decides for the addresses of a family: of all whose network holds one,
// that with the longest. The ranges are in order and apart; what is in no network is in none.
func decided(rules []Rule, v6 bool) []addrRange {
	var order []int
	for i, r := range rules {
		if r.Network.Addr().Is6() == v6 {
			order = append(order, i)
		}
	}
	// Networks before those within them.
	slices.SortFunc(order, func(a, b int) int {
		p, q := rules[a].Network, rules[b].Network
		return cmp.Or(p.Addr().Compare(q.Addr()), cmp.Compare(p.Bits(), q.Bits()))
	})
	var s sweep
	for _, i := range order {
		p := rules[i].Network
		for len(s.open) > 0 && s.top().last.Less(p.Addr()) {
			s.end()
		}
		s.begin(addrRange{p.Addr(), lastOf(p), i})
	}
	for len(s.open) > 0 {
		s.end()
	}
	return s.done
}

// sweep goes through networks by address, and knows those that it is within.
type sweep struct {
	open []addrRange // the innermost last
	next netip.Addr  // the first that is not in done; not valid behind the last of all
	done []addrRange
}

func (s *sweep) top() addrRange { return s.open[len(s.open)-1] }

// begin enters a network; what came before it is decided by the one around it.
func (s *sweep) begin(r addrRange) {
	if len(s.open) > 0 && s.next.Less(r.first) {
		s.done = append(s.done, addrRange{s.next, r.first.Prev(), s.top().rule})
	}
	s.open = append(s.open, r)
	s.next = r.first
}

// end leaves the innermost network.
func (s *sweep) end() {
	r := s.top()
	s.open = s.open[:len(s.open)-1]
	if s.next.IsValid() && !r.last.Less(s.next) {
		s.done = append(s.done, addrRange{s.next, r.last, r.rule})
	}
	s.next = r.last.Next()
}

// lastOf returns the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
