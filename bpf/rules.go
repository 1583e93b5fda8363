// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// ruleNumbers is how many counters there are, as in steer.c, where number zero stands for what is not
// counted. While one generation takes over from another both have theirs, so half of them is what one
// may have.
const (
	ruleNumbers = 16384
	maxRules    = ruleNumbers/2 - 1
)

// Rules say which new connections are steered. Of the rules of one side that with the longest prefix
// decides. A connection is steered if a rule of Servers takes its destination and port and no rule of
// Clients, if there are any, leaves out its source.
type Rules struct {
	// Servers judge by the address that a client dials. Without any nothing is steered.
	Servers []Rule
	// Clients judge by the address of the client. Without any every client is taken.
	Clients []Rule
	// Never are addresses that are treated as those of the box itself: they always pass.
	Never []netip.Prefix
}

// A Rule takes or leaves out a network.
type Rule struct {
	Network netip.Prefix
	// Ports are those of the server that the rule is for; nil is any. Other ports pass, whatever
	// a shorter prefix says of them. Rules of Clients have none.
	Ports Ports
	// Exclude lets connections of the network pass.
	Exclude bool
}

// Ports is a set of TCP ports.
type Ports []PortRange

// A PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// PortSet makes a set of single ports; of none it makes nil, which is any port.
func PortSet(ports ...uint16) Ports {
	var set Ports
	for _, p := range ports {
		set = append(set, PortRange{p, p})
	}
	return set
}

// AllServers takes every destination of both families on these ports.
func AllServers(ports Ports) []Rule {
	return []Rule{
		{Network: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Ports: ports},
		{Network: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Ports: ports},
	}
}

// String is the ports as people write them: "443,8000-8080", or "any".
func (p Ports) String() string {
	if p == nil {
		return "any"
	}
	var all []string
	for _, r := range p {
		s := strconv.Itoa(int(r.First))
		if r.Last != r.First {
			s += "-" + strconv.Itoa(int(r.Last))
		}
		all = append(all, s)
	}
	return strings.Join(all, ",")
}

// String is the rule in a few words: "include 192.0.2.0/24 port 443".
func (r Rule) String() string {
	word := "include"
	if r.Exclude {
		word = "exclude"
	}
	return fmt.Sprintf("%s %v port %v", word, r.Network, r.Ports)
}

// Side is one of the two ends that rules look at.
type Side uint8

// The two sides.
const (
	ServerSide Side = iota
	ClientSide
)

// String is "server" or "client".
func (s Side) String() string {
	if s == ClientSide {
		return "client"
	}
	return "server"
}

// The tables of a generation's trie, as in steer.c.
const (
	tableOwn4 = 1 + iota
	tableOwn6
	tableServers4
	tableServers6
	tableClients4
	tableClients6
	tablePorts
)

const tableBits = 32

// ruleKey and ruleValue are the trie's key and value as steer.c has them.
type ruleKey struct {
	PrefixLen uint32
	Table     uint32
	Data      [16]byte
}

type ruleValue struct {
	Number uint32
	Flags  uint32
}

const (
	flagExclude = 1
	flagAnyPort = 2
)

// A generation is the contents of one trie.
type generation map[ruleKey]ruleValue

// A ruleID tells rules apart over generations, so that a rule that stays keeps its count.
type ruleID struct {
	side Side
	text string
}

func (r Rule) id(side Side) ruleID { return ruleID{side, r.normal().String()} }

// normal writes equal rules equally.
func (r Rule) normal() Rule {
	r.Network = normalPrefix(r.Network)
	return r
}

// normalPrefix masks the bits that do not count, and makes IPv4 of IPv4 in IPv6.
func normalPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// check refuses what makes no sense, before anything of it is in the kernel.
func (r Rules) check() error {
	if n := len(r.Servers) + len(r.Clients); n > maxRules {
		return fmt.Errorf("%d steering rules, more than the %d that are possible", n, maxRules)
	}
	for side, rules := range [][]Rule{ServerSide: r.Servers, ClientSide: r.Clients} {
		seen := make(map[netip.Prefix]bool)
		for _, rule := range rules {
			if err := rule.check(Side(side)); err != nil {
				return err
			}
			if network := rule.normal().Network; seen[network] {
				return fmt.Errorf("two steering rules for the %v network %v", Side(side), network)
			} else {
				seen[network] = true
			}
		}
	}
	for _, p := range r.Never {
		if !p.IsValid() {
			return fmt.Errorf("invalid network among those never to steer")
		}
	}
	return nil
}

func (r Rule) check(side Side) error {
	if !r.Network.IsValid() {
		return fmt.Errorf("steering rule for an invalid %v network", side)
	}
	if side == ClientSide && r.Ports != nil {
		return fmt.Errorf("steering rule for the client network %v: only servers' rules have ports", r.Network)
	}
	if r.Ports != nil && len(r.Ports) == 0 {
		return fmt.Errorf("steering rule for %v with an empty set of ports", r.Network)
	}
	for _, p := range r.Ports {
		if p.First == 0 || p.First > p.Last {
			return fmt.Errorf("steering rule for %v: %d to %d is no range of ports", r.Network, p.First, p.Last)
		}
	}
	return nil
}

// generation makes the trie's contents of rules that passed check. number gives each rule that of its
// counter.
func (r Rules) generation(own []netip.Prefix, number func(ruleID) uint32) generation {
	g := make(generation)
	for _, prefixes := range [][]netip.Prefix{own, r.Never} {
		for _, p := range prefixes {
			g[networkKey(p, tableOwn4, tableOwn6)] = ruleValue{}
		}
	}
	for _, rule := range r.Servers {
		value := rule.value(number(rule.id(ServerSide)))
		g[networkKey(rule.Network, tableServers4, tableServers6)] = value
		for _, p := range rule.Ports {
			g.addPorts(value.Number, p)
		}
	}
	for _, rule := range r.Clients {
		g[networkKey(rule.Network, tableClients4, tableClients6)] = rule.value(number(rule.id(ClientSide)))
	}
	if len(r.Clients) == 0 {
		for _, rule := range AllServers(nil) {
			g[networkKey(rule.Network, tableClients4, tableClients6)] = rule.value(0)
		}
	}
	return g
}

func (r Rule) value(number uint32) ruleValue {
	v := ruleValue{Number: number}
	if r.Exclude {
		v.Flags |= flagExclude
	}
	if r.Ports == nil {
		v.Flags |= flagAnyPort
	}
	return v
}

func networkKey(p netip.Prefix, table4, table6 uint32) ruleKey {
	p = normalPrefix(p)
	k := ruleKey{PrefixLen: tableBits + uint32(p.Bits()), Table: table6}
	if p.Addr().Is4() {
		k.Table = table4
	}
	copy(k.Data[:], p.Addr().AsSlice())
	return k
}

// addPorts covers a range with prefixes of the port's bits, at most 30.
func (g generation) addPorts(number uint32, r PortRange) {
	for first, end := uint32(r.First), uint32(r.Last)+1; first < end; {
		width := min(bits.TrailingZeros32(first|1<<16), bits.Len32(end-first)-1)
		k := ruleKey{PrefixLen: tableBits + 32 + 16 - uint32(width), Table: tablePorts}
		binary.NativeEndian.PutUint32(k.Data[:], number)
		binary.BigEndian.PutUint16(k.Data[4:], uint16(first))
		g[k] = ruleValue{}
		first += 1 << width
	}
}
