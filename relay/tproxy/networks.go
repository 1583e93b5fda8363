// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"net/netip"
	"slices"
)

// addrRange is the addresses from first to last, both included.
type addrRange struct{ first, last netip.Addr }

// servers returns which addresses of a family are caught, in order and apart. Of all the networks
// that an address is in the longest counts, and exclude where both name the same; an address in none
// is caught unless there are networks to include.
func (c *Config) servers(v6 bool) []addrRange {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if v6 {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	verdicts := map[netip.Prefix]bool{all: len(c.Include) == 0}
	for _, p := range c.Include {
		if p.Addr().Is6() == v6 {
			verdicts[p.Masked()] = true
		}
	}
	for _, p := range c.Exclude {
		if p.Addr().Is6() == v6 {
			verdicts[p.Masked()] = false
		}
	}
	var prefixes []netip.Prefix
	for p := range verdicts {
		prefixes = append(prefixes, p)
	}
	return ranges(boundaries(prefixes), func(a netip.Addr) bool { return longest(verdicts, a) })
}

// longest returns the verdict of the longest network that holds a.
func longest(verdicts map[netip.Prefix]bool, a netip.Addr) bool {
	best, caught := -1, false
	for p, v := range verdicts {
		if p.Bits() > best && p.Contains(a) {
			best, caught = p.Bits(), v
		}
	}
	return caught
}

// boundaries returns every address at which a network begins, or is just over.
func boundaries(prefixes []netip.Prefix) []netip.Addr {
	var at []netip.Addr
	for _, p := range prefixes {
		at = append(at, p.Addr())
		if next := lastOf(p).Next(); next.IsValid() {
			at = append(at, next)
		}
	}
	slices.SortFunc(at, netip.Addr.Compare)
	return slices.Compact(at)
}

// ranges joins the stretches between boundaries that are caught; within one all are alike.
func ranges(at []netip.Addr, caught func(netip.Addr) bool) []addrRange {
	var all []addrRange
	for i, first := range at {
		if !caught(first) {
			continue
		}
		last := lastOf(netip.PrefixFrom(first, 0))
		if i+1 < len(at) {
			last = at[i+1].Prev()
		}
		if n := len(all); n > 0 && all[n-1].last.Next() == first {
			all[n-1].last = last
		} else {
			all = append(all, addrRange{first, last})
		}
	}
	return all
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
