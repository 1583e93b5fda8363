// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"testing/quick"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// lookup is what the kernel's trie does.
func (g generation) lookup(table uint32, data [16]byte, bits int) (best ruleValue, found bool) {
	longest := -1
	for k, v := range g {
		n := int(k.PrefixLen) - tableBits
		if k.Table == table && n <= bits && n > longest && samePrefix(k.Data, data, n) {
			best, longest = v, n
		}
	}
	return best, longest >= 0
}

func samePrefix(a, b [16]byte, bits int) bool {
	for i := range bits {
		if (a[i/8]^b[i/8])>>(7-i%8)&1 != 0 {
			return false
		}
	}
	return true
}

func TestPortsCoverExactly(t *testing.T) {
	covers := func(a, b, port uint16) bool {
		first, last := max(1, min(a, b)), max(1, a, b)
		g := make(generation)
		g.addPorts(7, PortRange{first, last})
		if len(g) > 30 {
			return false
		}
		for _, p := range []uint16{port, first - 1, first, last, last + 1} {
			var data [16]byte
			binary.NativeEndian.PutUint32(data[:], 7)
			binary.BigEndian.PutUint16(data[4:], p)
			if _, found := g.lookup(tablePorts, data, 48); found != (first <= p && p <= last) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(covers, nil); err != nil {
		t.Error(err)
	}
	for _, r := range []PortRange{{1, 65535}, {443, 443}, {65535, 65535}, {1, 1}, {32768, 65535}} {
		if !covers(r.First, r.Last, 443) {
			t.Errorf("%v is not covered", r)
		}
	}
}

func TestRulesCheck(t *testing.T) {
	many := make([]Rule, maxRules+1)
	for _, test := range []struct {
		rules Rules
		want  string
	}{
		{Rules{}, ""},
		{Rules{Servers: AllServers(nil)}, ""},
		{Rules{Servers: AllServers(PortSet(443, 8443)), Clients: []Rule{{Network: prefix("192.0.2.0/24")}}}, ""},
		{Rules{Servers: []Rule{{}}}, "invalid server network"},
		{Rules{Clients: []Rule{{Network: prefix("::/0"), Ports: PortSet(1)}}}, "only servers' rules have ports"},
		{Rules{Servers: []Rule{{Network: prefix("::/0"), Ports: Ports{}}}}, "empty set"},
		{Rules{Servers: []Rule{{Network: prefix("::/0"), Ports: Ports{{0, 5}}}}}, "no range"},
		{Rules{Servers: []Rule{{Network: prefix("::/0"), Ports: Ports{{6, 5}}}}}, "no range"},
		{Rules{Servers: []Rule{{Network: prefix("10.0.0.1/8")}, {Network: prefix("10.0.0.2/8")}}}, "two steering rules"},
		{Rules{Servers: []Rule{{Network: prefix("10.0.0.0/8")}, {Network: prefix("::ffff:10.0.0.0/104")}}}, "two steering rules"},
		{Rules{Never: []netip.Prefix{{}}}, "never"},
		{Rules{Servers: many}, "more than"},
	} {
		err := test.rules.check()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%v: got %v, want %q", test.rules, err, test.want)
		}
	}
}

func TestRuleString(t *testing.T) {
	for want, rule := range map[string]Rule{
		"include 0.0.0.0/0 port any":            AllServers(nil)[0],
		"exclude 10.0.0.0/8 port 443,8000-8080": {Network: prefix("10.0.0.0/8"), Exclude: true, Ports: Ports{{443, 443}, {8000, 8080}}},
	} {
		if got := rule.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestNumbering keeps numbers of rules that stay, and gives none out twice.
func TestNumbering(t *testing.T) {
	n := newNumbering()
	id := func(s string) ruleID { return ruleID{ServerSide, s} }
	use := func(names ...string) (map[string]uint32, []uint32) {
		r := n.begin()
		got := make(map[string]uint32)
		for _, name := range names {
			got[name] = r.number(id(name))
		}
		return got, n.commit(r)
	}
	first, freed := use("a", "b")
	if len(freed) != 0 || first["a"] == first["b"] || first["a"] == 0 || first["b"] == 0 {
		t.Fatalf("got %v, freed %v", first, freed)
	}
	abandoned := n.begin()
	abandoned.number(id("x"))
	second, freed := use("b", "c")
	if second["b"] != first["b"] || second["c"] == first["a"] || second["c"] == first["b"] {
		t.Fatalf("got %v after %v", second, first)
	}
	if len(freed) != 1 || freed[0] != first["a"] {
		t.Fatalf("freed %v of %v", freed, first)
	}
	if len(n.free)+len(n.used) != ruleNumbers-1 {
		t.Fatalf("%d free and %d used", len(n.free), len(n.used))
	}
}
