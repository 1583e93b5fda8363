// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// An expression as a tree. Of a list, each term follows the ones before it.
type (
	andExpr []expr
	orExpr  []expr
	notExpr struct{ x expr }
	expr    any // one of these, or a primitive
)

// The primitives.
type (
	protoExpr struct{ proto string }
	hostExpr  struct {
		proto, dir string
		net        netip.Prefix
	}
	etherExpr struct {
		dir string
		mac [6]byte
	}
	castExpr struct {
		proto string
		broad bool
	}
	portExpr struct {
		proto, dir string
		low, high  uint16
	}
	numberExpr struct {
		proto string
		n     uint32
	} // of a protocol
	vlanExpr struct{ id int } // -1: any
	cmpExpr  struct {
		proto     string // "": the length
		off, size uint32
		mask      uint32
		op        string
		value     uint32
	}
)

// qualifiers say what kind of thing an ID is.
type qualifiers struct{ proto, dir, typ string }

const maxDepth = 100

type parser struct {
	expr   string
	tokens []token
	pos    int
	last   *qualifiers // for IDs that have none
	depth  int
}

func (p *parser) fail(format string, args ...any) error {
	at := len(p.expr)
	if p.pos < len(p.tokens) {
		at = p.tokens[p.pos].at
	}
	return &Error{p.expr, at, fmt.Sprintf(format, args...)}
}

func (p *parser) peek(n int) string {
	if p.pos+n < len(p.tokens) {
		return p.tokens[p.pos+n].text
	}
	return ""
}

// take passes over the next token if it is one of these.
func (p *parser) take(words ...string) (string, bool) {
	t := p.peek(0)
	if t == "" || !slices.Contains(words, t) {
		return "", false
	}
	p.pos++
	return t, true
}

// word returns the next token, which has to be a word.
func (p *parser) word(what string) (string, error) {
	if p.pos >= len(p.tokens) || !p.tokens[p.pos].word {
		return "", p.fail("%s is missing", what)
	}
	p.pos++
	return strings.TrimPrefix(p.tokens[p.pos-1].text, `\`), nil
}

// parse parses a whole expression.
func parse(text string) (expr, error) {
	tokens, err := lex(text)
	if err != nil || len(tokens) == 0 {
		return nil, err
	}
	p := &parser{expr: text, tokens: tokens}
	x, err := p.terms(p.term)
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.tokens) {
		return nil, p.fail("what follows is not joined by and, or")
	}
	return x, nil
}

// terms parses terms that are joined: "and" and "or" have equal precedence and associate to the left.
func (p *parser) terms(term func() (expr, error)) (expr, error) {
	x, err := term()
	for err == nil {
		var y expr
		if _, ok := p.take("and", "&&"); ok {
			if y, err = term(); err == nil {
				x = join[andExpr](x, y)
			}
		} else if _, ok := p.take("or", "||"); ok {
			if y, err = term(); err == nil {
				x = join[orExpr](x, y)
			}
		} else {
			return x, nil
		}
	}
	return nil, err
}

// join puts y behind x, in the same list if x is one of the same kind.
func join[L andExpr | orExpr](x, y expr) expr {
	if l, ok := x.(L); ok {
		return append(l, y)
	}
	return L{x, y}
}

// nested parses what is within parentheses, or follows a not.
func (p *parser) nested(f func() (expr, error)) (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail("too deeply nested")
	}
	x, err := f()
	p.depth--
	return x, err
}

func (p *parser) parenthesis(term func() (expr, error)) (expr, error) {
	x, err := p.nested(func() (expr, error) { return p.terms(term) })
	if err != nil {
		return nil, err
	}
	if _, ok := p.take(")"); !ok {
		return nil, p.fail("a closing parenthesis is missing")
	}
	return x, nil
}

func (p *parser) term() (expr, error) {
	if _, ok := p.take("not", "!"); ok {
		x, err := p.nested(p.term)
		return notExpr{x}, err
	}
	if _, ok := p.take("("); ok {
		return p.parenthesis(p.term)
	}
	return p.primitive()
}

var (
	protoWords = []string{
		"ether", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "esp", "ah",
	}
	typeWords = []string{"host", "net", "port", "portrange", "proto"}
	// unsupported are words of pcap-filter(7) that mean something there.
	unsupported = []string{
		"fddi", "tr", "wlan", "link", "ppp", "slip", "decnet", "gateway", "protochain", "mpls", "pppoed",
		"pppoes", "geneve", "vxlan", "iso", "clnp", "atalk", "aarp", "inbound", "outbound", "ifname",
	}
)

// primitive parses qualifiers and what they qualify.
func (p *parser) primitive() (expr, error) {
	if w, ok := p.take("less", "greater"); ok {
		n, err := p.number("a length")
		return cmpExpr{mask: ^uint32(0), op: map[string]string{"less": "<=", "greater": ">="}[w], value: n}, err
	}
	if _, ok := p.take("vlan"); ok {
		return p.vlan()
	}
	if slices.Contains(unsupported, p.peek(0)) {
		return nil, p.fail("%q is not supported", p.peek(0))
	}
	if p.peek(0) == "len" || p.peek(1) == "[" {
		return p.comparison()
	}
	q, begun := p.qualifiers()
	if w, ok := p.take("broadcast", "multicast"); ok {
		return p.cast(q, w == "broadcast")
	}
	if !begun && p.last != nil {
		q = *p.last
	}
	if q.proto != "" && q.dir == "" && q.typ == "" && begun && !p.idFollows() {
		if q.proto == "ether" {
			return nil, p.fail("what of ether is missing")
		}
		return protoExpr{q.proto}, nil
	}
	p.last = &q
	if p.peek(0) == "(" && begun {
		p.pos++
		return p.parenthesis(func() (expr, error) { return p.ids(q) })
	}
	return p.id(q)
}

// ids parses one of several IDs in parentheses, which share their qualifiers.
func (p *parser) ids(q qualifiers) (expr, error) {
	if _, ok := p.take("not", "!"); ok {
		x, err := p.nested(func() (expr, error) { return p.ids(q) })
		return notExpr{x}, err
	}
	return p.id(q)
}

// idFollows reports whether the next token may be an ID.
func (p *parser) idFollows() bool {
	if p.pos >= len(p.tokens) {
		return false
	}
	t := p.tokens[p.pos]
	return t.text == "(" || t.word && !slices.Contains([]string{"and", "or", "not"}, t.text)
}

// qualifiers reads protocol, direction and type, each of which may be missing.
func (p *parser) qualifiers() (q qualifiers, begun bool) {
	start := p.pos
	q.proto, _ = p.take(protoWords...)
	if d, ok := p.take("src", "dst"); ok {
		q.dir = d
		other := map[string]string{"src": "dst", "dst": "src"}[d]
		if slices.Contains([]string{"and", "&&", "or", "||"}, p.peek(0)) && p.peek(1) == other {
			q.dir = "either"
			if op := p.peek(0); op == "and" || op == "&&" {
				q.dir = "both"
			}
			p.pos += 2
		}
	}
	q.typ, _ = p.take(typeWords...)
	return q, p.pos > start
}

// id parses an ID, of the kind that the qualifiers say.
func (p *parser) id(q qualifiers) (expr, error) {
	at := p.pos
	w, err := p.word("a name or number")
	if err != nil {
		return nil, err
	}
	var x expr
	switch q.typ {
	case "port", "portrange":
		x, err = portID(q, w)
	case "proto":
		x, err = protoID(q, w)
	case "net":
		if q.proto != "ether" {
			x, err = p.netID(q, w)
			break
		}
		fallthrough
	default:
		x, err = hostID(q, w)
	}
	if err != nil {
		p.pos = at
		return nil, p.fail("%v", err)
	}
	return x, nil
}

func (p *parser) number(what string) (uint32, error) {
	w, err := p.word(what)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(w, 0, 32)
	if err != nil {
		p.pos--
		return 0, p.fail("%s has to be a number", what)
	}
	return uint32(n), nil
}

func (p *parser) vlan() (expr, error) {
	if p.pos >= len(p.tokens) || !p.tokens[p.pos].word || p.tokens[p.pos].text[0] < '0' || p.tokens[p.pos].text[0] > '9' {
		return vlanExpr{-1}, nil
	}
	n, err := p.number("a VLAN")
	if err == nil && n > 4095 {
		p.pos--
		return nil, p.fail("a VLAN has a number up to 4095")
	}
	return vlanExpr{int(n)}, err
}

func (p *parser) cast(q qualifiers, broad bool) (expr, error) {
	switch {
	case q.dir != "" || q.typ != "":
	case q.proto == "" || q.proto == "ether":
		return castExpr{"ether", broad}, nil
	case !broad && (q.proto == "ip" || q.proto == "ip6"):
		return castExpr{q.proto, broad}, nil
	}
	p.pos--
	return nil, p.fail("this is not supported")
}

// hostID reads an address.
func hostID(q qualifiers, w string) (expr, error) {
	if q.proto == "ether" {
		mac, err := net.ParseMAC(w)
		if err != nil || len(mac) != 6 {
			return nil, fmt.Errorf("a hardware address has six bytes, as in 02:00:00:00:00:01")
		}
		return etherExpr{q.dir, [6]byte(mac)}, nil
	}
	a, err := netip.ParseAddr(w)
	if err != nil {
		return nil, fmt.Errorf("this is no address, and names are not resolved")
	}
	return hostOf(q, netip.PrefixFrom(a, a.BitLen()))
}

// hostOf checks that the protocol has such addresses.
func hostOf(q qualifiers, n netip.Prefix) (expr, error) {
	switch q.proto {
	case "":
	case "ip", "arp", "rarp":
		if !n.Addr().Is4() {
			return nil, fmt.Errorf("%s has no such address", q.proto)
		}
	case "ip6":
		if !n.Addr().Is6() {
			return nil, fmt.Errorf("ip6 has no such address")
		}
	default:
		return nil, fmt.Errorf("%s has no addresses", q.proto)
	}
	return hostExpr{q.proto, q.dir, n}, nil
}

// netID reads a network: with a length, with a mask, or the first numbers of an IPv4 address.
func (p *parser) netID(q qualifiers, w string) (expr, error) {
	if _, ok := p.take("mask"); ok {
		m, err := p.word("a mask")
		if err != nil {
			return nil, err
		}
		a, errA := netip.ParseAddr(w)
		mask, errM := netip.ParseAddr(m)
		if errA != nil || errM != nil || !a.Is4() || !mask.Is4() {
			return nil, fmt.Errorf("this is no network with a mask")
		}
		b := mask.As4()
		ones, bits := net.IPMask(b[:]).Size()
		if bits == 0 {
			return nil, fmt.Errorf("a mask that is no prefix is not supported")
		}
		return netOf(q, netip.PrefixFrom(a, ones))
	}
	if n, err := netip.ParsePrefix(w); err == nil {
		return netOf(q, n)
	}
	if a, err := netip.ParseAddr(w); err == nil && a.Is6() {
		return netOf(q, netip.PrefixFrom(a, 128))
	}
	parts := strings.Split(w, ".")
	if len(parts) > 4 {
		return nil, fmt.Errorf("this is no network")
	}
	full := w + strings.Repeat(".0", 4-len(parts))
	a, err := netip.ParseAddr(full)
	if err != nil {
		return nil, fmt.Errorf("this is no network, and names are not resolved")
	}
	return netOf(q, netip.PrefixFrom(a, 8*len(parts)))
}

func netOf(q qualifiers, n netip.Prefix) (expr, error) {
	if n.Masked() != n {
		return nil, fmt.Errorf("a network with bits beyond its length: %v is meant?", n.Masked())
	}
	return hostOf(q, n)
}

// portID reads a port or a range of ports.
func portID(q qualifiers, w string) (expr, error) {
	if !slices.Contains([]string{"", "tcp", "udp", "sctp", "ip", "ip6"}, q.proto) {
		return nil, fmt.Errorf("%s has no ports", q.proto)
	}
	low, high := w, w
	if i := strings.IndexByte(w, '-'); i > 0 && q.typ == "portrange" {
		low, high = w[:i], w[i+1:]
	}
	a, err := port(q.proto, low)
	if err != nil {
		return nil, err
	}
	b, err := port(q.proto, high)
	if err != nil {
		return nil, err
	}
	return portExpr{q.proto, q.dir, min(a, b), max(a, b)}, nil
}

func port(proto, w string) (uint16, error) {
	if n, err := strconv.ParseUint(w, 0, 16); err == nil {
		return uint16(n), nil
	}
	if proto != "udp" {
		proto = "tcp"
	}
	// From the system's list of services, not from the network.
	if w != "" && w[0] > '9' {
		if n, err := net.LookupPort(proto, w); err == nil {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("this is no port")
}

// protocols are the numbers of IP protocols that have names, etherTypes those of EtherTypes.
var (
	protocols = map[string]uint32{
		"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "sctp": 132,
	}
	etherTypes = map[string]uint32{"ip": 0x0800, "arp": 0x0806, "rarp": 0x8035, "ip6": 0x86dd}
)

func protoID(q qualifiers, w string) (expr, error) {
	if q.dir != "" || !slices.Contains([]string{"", "ether", "ip", "ip6"}, q.proto) {
		return nil, fmt.Errorf("this is not supported")
	}
	names, most := protocols, uint64(255)
	if q.proto == "ether" {
		names, most = etherTypes, 65535
	}
	if n, ok := names[w]; ok {
		return numberExpr{q.proto, n}, nil
	}
	n, err := strconv.ParseUint(w, 0, 32)
	if err != nil || n > most {
		return nil, fmt.Errorf("this is no protocol")
	}
	return numberExpr{q.proto, uint32(n)}, nil
}
