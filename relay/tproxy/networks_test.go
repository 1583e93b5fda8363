// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// longest is the rule for an address, found by looking at each.
func longest(rules []Rule, a netip.Addr) int {
	best := -1
	for i, r := range rules {
		if r.Network.Contains(a) && (best < 0 || r.Network.Bits() > rules[best].Network.Bits()) {
			best = i
		}
	}
	return best
}

func inRanges(ranges []addrRange, a netip.Addr) int {
	for _, r := range ranges {
		if !a.Less(r.first) && !r.last.Less(a) {
			return r.rule
		}
	}
	return -1
}

// TestDecided compares ranges with longest prefixes, at every edge.
func TestDecided(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 443))
	for range 500 {
		var r Rules
		for range 1 + rng.IntN(8) {
			r.Include = append(r.Include, randomPrefix(rng))
			r.Exclude = append(r.Exclude, randomPrefix(rng))
		}
		rules := r.list()
		for _, v6 := range []bool{false, true} {
			ranges := decided(rules, v6)
			for i, a := range ranges {
				if a.last.Less(a.first) || i > 0 && !ranges[i-1].last.Less(a.first) {
					t.Fatalf("%v: ranges %v are not in order and apart", rules, ranges)
				}
			}
			for _, a := range edges(rules, v6) {
				if got, want := inRanges(ranges, a), longest(rules, a); got != want {
					t.Fatalf("%v is decided by rule %d, want %d\n%v\n%v", a, got, want, rules, ranges)
				}
			}
		}
	}
}

// randomPrefix has many that hold each other, and that end where the address space does.
func randomPrefix(rng *rand.Rand) netip.Prefix {
	bytes := make([]byte, []int{4, 16}[rng.IntN(2)])
	for i := range bytes {
		bytes[i] = []byte{0, 0, 255, 255, 128, 127}[rng.IntN(6)]
	}
	a, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(a, rng.IntN(a.BitLen()+1))
}

// edges are the addresses at which a rule may begin or end to decide, of one family.
func edges(rules []Rule, v6 bool) (all []netip.Addr) {
	for _, r := range rules {
		first, last := r.Network.Addr(), lastOf(r.Network)
		for _, a := range []netip.Addr{first, first.Prev(), last, last.Next()} {
			if a.IsValid() && a.Is6() == v6 {
				all = append(all, a)
			}
		}
	}
	return all
}

func TestRulesList(t *testing.T) {
	prefix := netip.MustParsePrefix
	for _, tc := range []struct {
		rules Rules
		want  string
	}{
		{Rules{}, "include 0.0.0.0/0 port any; include ::/0 port any"},
		{Rules{Ports: []PortRange{{8000, 8010}, {443, 443}, {8011, 8020}}}, "include 0.0.0.0/0 port 443,8000-8020; include ::/0 port 443,8000-8020"},
		{
			Rules{Include: []netip.Prefix{prefix("10.1.2.3/8"), prefix("::ffff:10.0.0.0/104"), prefix("2001:db8::/32")}, Exclude: []netip.Prefix{prefix("2001:db8::1/32")}},
			"include 10.0.0.0/8 port any; exclude 2001:db8::/32 port any",
		},
	} {
		var got []string
		for _, r := range tc.rules.list() {
			got = append(got, r.String())
		}
		if text := strings.Join(got, "; "); text != tc.want {
			t.Errorf("got %s, want %s", text, tc.want)
		}
	}
}

func TestClaims(t *testing.T) {
	c := claim{Instance: "a", PID: 7, Drop: true, Interfaces: []string{"eth0", "eth1"}, Ports: []PortRange{{443, 443}, {8000, 8010}}}
	back, ok := parseClaim(c.text(1024))
	if !ok || back.describe() != c.describe() || !back.Drop || back.PID != 7 {
		t.Errorf("got %+v back, want %+v", back, c)
	}
	for _, tc := range []struct {
		other claim
		want  bool
	}{
		{claim{Interfaces: []string{"eth1"}, Ports: []PortRange{{8010, 9000}}}, true},
		{claim{Interfaces: []string{"eth1"}, Ports: []PortRange{{8011, 9000}}}, false},
		{claim{Interfaces: []string{"eth2"}}, false},
		{claim{Interfaces: []string{"eth0"}}, true},
	} {
		if got := c.overlaps(tc.other); got != tc.want || tc.other.overlaps(c) != tc.want {
			t.Errorf("%+v overlaps: %v", tc.other, got)
		}
	}
	// One that is too long claims more than it has, never less.
	c.Ports = slices.Repeat(c.Ports, 1000)
	if back, ok := parseClaim(c.text(1024)); !ok || len(back.Ports) != 0 {
		t.Errorf("got %+v back of a long one", back)
	}
}
