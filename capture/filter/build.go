// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// Link says what packets begin with.
type Link uint8

// The links.
const (
	Ethernet Link = iota
	RawIP         // IPv4 or IPv6, as its first half byte says
)

// A filter as a tree of tests.
type (
	node     any // one of these
	andNode  struct{ a, b node }
	orNode   struct{ a, b node }
	notNode  struct{ x node }
	constant bool
	// test loads a value and compares it.
	test struct {
		load  []bpf.Instruction
		cond  bpf.JumpTest
		value uint32
	}
)

// place is where in the packet the headers are.
type place struct {
	link  Link
	typ   uint32 // offset of the EtherType
	net   uint32 // offset of the network header
	outer bool   // the tag beside the packet was taken into account
}

// maxNodes bounds the tree: what follows "vlan" is in it twice.
const maxNodes = 4096

type builder struct {
	nodes int
}

var (
	errTooLarge = errors.New("filter: too large a program")
	errNoEther  = errors.New("filter: there are no Ethernet headers on this interface")
)

// build builds x, and what follows it if x holds, at the place where that is then.
func (b *builder) build(x expr, at place, rest func(place) (node, error)) (node, error) {
	if b.nodes++; b.nodes > maxNodes {
		return nil, errTooLarge
	}
	switch x := x.(type) {
	case andExpr:
		if len(x) == 1 {
			return b.build(x[0], at, rest)
		}
		return b.build(x[0], at, func(at place) (node, error) { return b.build(x[1:], at, rest) })
	case orExpr:
		return b.alternatives(x, at, rest)
	case notExpr:
		n, err := b.build(x.x, at, end)
		if err != nil {
			return nil, err
		}
		return b.then(notNode{n}, at, rest)
	case vlanExpr:
		return b.vlan(x, at, rest)
	}
	n, err := primitive(x, at)
	if err != nil {
		return nil, err
	}
	return b.then(n, at, rest)
}

// end says that nothing follows.
func end(place) (node, error) { return nil, nil }

// then joins a test with what follows it.
func (b *builder) then(n node, at place, rest func(place) (node, error)) (node, error) {
	r, err := rest(at)
	if err != nil || r == nil {
		return n, err
	}
	return andNode{n, r}, nil
}

// alternatives builds a list of which one has to hold. What follows comes once, or behind each of
// them if one may move it.
func (b *builder) alternatives(list orExpr, at place, rest func(place) (node, error)) (node, error) {
	after := rest
	if !moves(list) {
		after = end
	}
	var any node
	for _, x := range list {
		n, err := b.build(x, at, after)
		if err != nil {
			return nil, err
		}
		if any == nil {
			any = n
		} else {
			any = orNode{any, n}
		}
	}
	if moves(list) {
		return any, nil
	}
	return b.then(any, at, rest)
}

// moves reports whether headers may be elsewhere when x holds.
func moves(x expr) bool {
	switch x := x.(type) {
	case vlanExpr:
		return true
	case andExpr:
		return slices.ContainsFunc(x, moves)
	case orExpr:
		return slices.ContainsFunc(x, moves)
	}
	return false
}

// vlan builds a test for a tag: beside the packet, with the rest at the same place, or in it, with the
// rest behind it.
func (b *builder) vlan(x vlanExpr, at place, rest func(place) (node, error)) (node, error) {
	if at.link != Ethernet {
		return nil, errNoEther
	}
	behind := at
	behind.outer = true
	behind.typ += 4
	behind.net += 4
	in, err := b.then(tagInside(x, at), behind, rest)
	if err != nil || at.outer {
		return in, err
	}
	in = andNode{notNode{tagBeside(vlanExpr{-1})}, in}
	beside := at
	beside.outer = true
	out, err := b.then(tagBeside(x), beside, rest)
	return orNode{out, in}, err
}

// tagBeside tests the tag that the kernel took out of the packet.
func tagBeside(x vlanExpr) node {
	n := node(test{[]bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}}, bpf.JumpNotEqual, 0})
	if x.id < 0 {
		return n
	}
	return andNode{n, test{
		[]bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtVLANTag}, and(0xfff)}, bpf.JumpEqual, uint32(x.id),
	}}
}

func tagInside(x vlanExpr, at place) node {
	n := anyOf(at.etherType(0x8100), at.etherType(0x88a8), at.etherType(0x9100))
	if x.id < 0 {
		return n
	}
	return andNode{n, masked(at.typ+2, 2, 0xfff, uint32(x.id))}
}

// Tests.

func and(mask uint32) bpf.Instruction { return bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask} }

func equals(off uint32, size int, value uint32) node {
	return test{[]bpf.Instruction{bpf.LoadAbsolute{Off: off, Size: size}}, bpf.JumpEqual, value}
}

func masked(off uint32, size int, mask, value uint32) node {
	return test{[]bpf.Instruction{bpf.LoadAbsolute{Off: off, Size: size}, and(mask)}, bpf.JumpEqual, value}
}

func anyOf(list ...node) node {
	n := list[0]
	for _, m := range list[1:] {
		n = orNode{n, m}
	}
	return n
}

func allOf(list ...node) node {
	n := list[0]
	for _, m := range list[1:] {
		n = andNode{n, m}
	}
	return n
}

// direction combines tests of source and destination.
func direction(dir string, src, dst node) node {
	switch dir {
	case "src":
		return src
	case "dst":
		return dst
	case "both":
		return andNode{src, dst}
	}
	return orNode{src, dst}
}

func (at place) etherType(t uint32) node {
	if at.link == Ethernet {
		return equals(at.typ, 2, t)
	}
	switch t {
	case etherTypes["ip"]:
		return masked(at.net, 1, 0xf0, 0x40)
	case etherTypes["ip6"]:
		return masked(at.net, 1, 0xf0, 0x60)
	}
	return constant(false)
}

func (at place) ip4() node { return at.etherType(etherTypes["ip"]) }
func (at place) ip6() node { return at.etherType(etherTypes["ip6"]) }

// proto4 and proto6 test the protocol of an IP packet. Extension headers are not passed over.
func (at place) proto4(n uint32) node { return andNode{at.ip4(), equals(at.net+9, 1, n)} }
func (at place) proto6(n uint32) node { return andNode{at.ip6(), equals(at.net+6, 1, n)} }

// first tests that an IPv4 packet is no fragment but a first one: only that has ports.
func (at place) first() node {
	return test{[]bpf.Instruction{bpf.LoadAbsolute{Off: at.net + 6, Size: 2}}, bpf.JumpBitsNotSet, 0x1fff}
}

func primitive(x expr, at place) (node, error) {
	switch x := x.(type) {
	case protoExpr:
		return at.protocol(x.proto), nil
	case hostExpr:
		return at.host(x), nil
	case etherExpr:
		if at.link != Ethernet {
			return nil, errNoEther
		}
		return direction(x.dir, mac(6, x.mac), mac(0, x.mac)), nil
	case castExpr:
		return at.cast(x)
	case portExpr:
		return at.ports(x), nil
	case numberExpr:
		return at.number(x), nil
	case cmpExpr:
		return at.compare(x)
	}
	return nil, errors.New("filter: nothing to test")
}

func (at place) protocol(proto string) node {
	if t, ok := etherTypes[proto]; ok {
		return at.etherType(t)
	}
	n := protocols[proto]
	switch proto {
	case "icmp", "igmp":
		return at.proto4(n)
	case "icmp6":
		return at.proto6(n)
	}
	return orNode{at.proto4(n), at.proto6(n)}
}

func (at place) number(x numberExpr) node {
	switch x.proto {
	case "ether":
		return at.etherType(x.n)
	case "ip":
		return at.proto4(x.n)
	case "ip6":
		return at.proto6(x.n)
	}
	return orNode{at.proto4(x.n), at.proto6(x.n)}
}

func mac(off uint32, m [6]byte) node {
	return andNode{
		equals(off+2, 4, binary.BigEndian.Uint32(m[2:])),
		equals(off, 2, uint32(binary.BigEndian.Uint16(m[:]))),
	}
}

func (at place) host(x hostExpr) node {
	if x.net.Addr().Is6() {
		return andNode{at.ip6(), direction(x.dir, inNet(at.net+8, x.net), inNet(at.net+24, x.net))}
	}
	ip := andNode{at.ip4(), direction(x.dir, inNet(at.net+12, x.net), inNet(at.net+16, x.net))}
	arp := direction(x.dir, inNet(at.net+14, x.net), inNet(at.net+24, x.net))
	switch x.proto {
	case "ip":
		return ip
	case "arp", "rarp":
		return andNode{at.protocol(x.proto), arp}
	}
	if at.link != Ethernet {
		return ip
	}
	return orNode{ip, andNode{orNode{at.protocol("arp"), at.protocol("rarp")}, arp}}
}

// inNet tests whether the address at an offset is in a network.
func inNet(off uint32, n netip.Prefix) node {
	b := n.Addr().AsSlice()
	var tests []node
	for left := n.Bits(); left > 0; left -= 32 {
		word := binary.BigEndian.Uint32(b)
		b = b[4:]
		if left >= 32 {
			tests = append(tests, equals(off, 4, word))
		} else {
			tests = append(tests, masked(off, 4, ^uint32(0)<<(32-left), word))
		}
		off += 4
	}
	if len(tests) == 0 {
		return constant(true)
	}
	return allOf(tests...)
}

func (at place) cast(x castExpr) (node, error) {
	switch {
	case x.proto == "ip":
		return andNode{at.ip4(), masked(at.net+16, 1, 0xf0, 0xe0)}, nil
	case x.proto == "ip6":
		return andNode{at.ip6(), equals(at.net+24, 1, 0xff)}, nil
	case at.link != Ethernet:
		return nil, errNoEther
	case x.broad:
		return mac(0, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), nil
	}
	return masked(0, 1, 1, 1), nil
}

func (at place) ports(x portExpr) node {
	transports := []string{"tcp", "udp", "sctp"}
	if slices.Contains(transports, x.proto) {
		transports = []string{x.proto}
	}
	var proto4, proto6 []node
	for _, t := range transports {
		proto4 = append(proto4, equals(at.net+9, 1, protocols[t]))
		proto6 = append(proto6, equals(at.net+6, 1, protocols[t]))
	}
	v4 := allOf(at.ip4(), anyOf(proto4...), at.first(), direction(x.dir, at.port4(x, 0), at.port4(x, 2)))
	v6 := allOf(at.ip6(), anyOf(proto6...), direction(x.dir, at.port6(x, 0), at.port6(x, 2)))
	switch x.proto {
	case "ip":
		return v4
	case "ip6":
		return v6
	}
	return orNode{v4, v6}
}

func (at place) port4(x portExpr, off uint32) node {
	return inRange(x, bpf.LoadMemShift{Off: at.net}, bpf.LoadIndirect{Off: at.net + off, Size: 2})
}

func (at place) port6(x portExpr, off uint32) node {
	return inRange(x, bpf.LoadAbsolute{Off: at.net + 40 + off, Size: 2})
}

func inRange(x portExpr, load ...bpf.Instruction) node {
	if x.low == x.high {
		return test{load, bpf.JumpEqual, uint32(x.low)}
	}
	return andNode{test{load, bpf.JumpGreaterOrEqual, uint32(x.low)}, test{load, bpf.JumpLessOrEqual, uint32(x.high)}}
}

var conditions = map[string]bpf.JumpTest{
	"=": bpf.JumpEqual, "==": bpf.JumpEqual, "!=": bpf.JumpNotEqual, "<": bpf.JumpLessThan,
	"<=": bpf.JumpLessOrEqual, ">": bpf.JumpGreaterThan, ">=": bpf.JumpGreaterOrEqual,
}

func (at place) compare(x cmpExpr) (node, error) {
	result := func(load ...bpf.Instruction) node {
		if x.mask != ^uint32(0) {
			load = append(load, and(x.mask))
		}
		return test{load, conditions[x.op], x.value}
	}
	size := int(x.size)
	switch {
	case x.proto == "":
		return result(bpf.LoadExtension{Num: bpf.ExtLen}), nil
	case x.proto == "ether" && at.link != Ethernet:
		return nil, errNoEther
	case x.proto == "ether":
		return result(bpf.LoadAbsolute{Off: x.off, Size: size}), nil
	case etherTypes[x.proto] != 0:
		return andNode{at.protocol(x.proto), result(bpf.LoadAbsolute{Off: at.net + x.off, Size: size})}, nil
	case x.proto == "icmp6":
		return andNode{at.proto6(protocols["icmp6"]), result(bpf.LoadAbsolute{Off: at.net + 40 + x.off, Size: size})}, nil
	}
	// As in libpcap, only over IPv4.
	return allOf(at.proto4(protocols[x.proto]), at.first(),
		result(bpf.LoadMemShift{Off: at.net}, bpf.LoadIndirect{Off: at.net + x.off, Size: size})), nil
}
