// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// String returns "443" or "8000-8080".
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Rules say which servers' connections are caught. They may change while the steering goes on.
type Rules struct {
	Ports   []PortRange    // of servers; empty: any
	Include []netip.Prefix // only servers in these networks; empty: all
	Exclude []netip.Prefix // not servers in these; of all networks that hold a server the longest counts
}

// Rule is what Rules say of one network, and what connections are counted by.
type Rule struct {
	Network netip.Prefix
	Ports   []PortRange // in order and apart; empty: any
	Exclude bool
}

// String is the rule in a few words: "include 192.0.2.0/24 port 443".
func (r Rule) String() string {
	word := "include"
	if r.Exclude {
		word = "exclude"
	}
	return fmt.Sprintf("%s %v port %s", word, r.Network, portsText(r.Ports))
}

func portsText(ports []PortRange) string {
	if len(ports) == 0 {
		return "any"
	}
	var all []string
	for _, r := range ports {
		all = append(all, r.String())
	}
	return strings.Join(all, ",")
}

// maxNetworks bounds the networks of Rules: both ways to steer take as many.
const maxNetworks = 8000

// check says what is wrong with the rules.
func (r *Rules) check() error {
	for _, p := range r.Ports {
		if p.First == 0 || p.First > p.Last {
			return fmt.Errorf("%v is no range of ports", p)
		}
	}
	for _, p := range slices.Concat(r.Include, r.Exclude) {
		if !p.IsValid() {
			return errors.New("a network to include or exclude is not valid")
		}
	}
	if n := len(r.Include) + len(r.Exclude); n > maxNetworks {
		return fmt.Errorf("%d networks to include and exclude, more than the %d that are possible", n, maxNetworks)
	}
	return nil
}

// everywhere is all there is, of both families.
var everywhere = []netip.Prefix{
	netip.PrefixFrom(netip.IPv4Unspecified(), 0),
	netip.PrefixFrom(netip.IPv6Unspecified(), 0),
}

// list returns a rule for each network, those to include first. One that is named for both is excluded.
func (r *Rules) list() []Rule {
	include := r.Include
	if len(include) == 0 {
		include = everywhere
	}
	excluded := make(map[netip.Prefix]bool)
	for _, p := range r.Exclude {
		excluded[normal(p)] = true
	}
	ports := r.ranges()
	seen := make(map[netip.Prefix]bool)
	var all []Rule
	for i, p := range slices.Concat(include, r.Exclude) {
		p = normal(p)
		toExclude := i >= len(include)
		if seen[p] || !toExclude && excluded[p] {
			continue
		}
		seen[p] = true
		all = append(all, Rule{Network: p, Ports: ports, Exclude: toExclude})
	}
	return all
}

// normal writes equal networks equally: masked, and IPv4 in IPv6 as IPv4.
func normal(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// ranges returns the ports in order, joined where they touch; none if any port will do.
func (r *Rules) ranges() []PortRange {
	var joined []PortRange
	sorted := slices.SortedFunc(slices.Values(r.Ports), func(a, b PortRange) int { return int(a.First) - int(b.First) })
	for _, p := range sorted {
		if n := len(joined); n > 0 && int(p.First) <= int(joined[n-1].Last)+1 {
			joined[n-1].Last = max(joined[n-1].Last, p.Last)
		} else {
			joined = append(joined, p)
		}
	}
	return joined
}

// anyPort is what no ports mean.
var anyPort = []PortRange{{1, 65535}}

// explicit returns the ports, all of them where there are none.
func explicit(ports []PortRange) []PortRange {
	if len(ports) == 0 {
		return anyPort
	}
	return ports
}
