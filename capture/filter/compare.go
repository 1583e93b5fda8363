// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"slices"
	"strconv"
)

// names of offsets and values in comparisons.
var constants = map[string]uint32{
	"tcpflags": 13, "icmptype": 0, "icmpcode": 1, "icmp6type": 0, "icmp6code": 1,
	"tcp-fin": 1, "tcp-syn": 2, "tcp-rst": 4, "tcp-push": 8, "tcp-ack": 16, "tcp-urg": 32,
	"tcp-ece": 64, "tcp-cwr": 128,
}

var comparisons = []string{"=", "==", "!=", "<", "<=", ">", ">="}

// comparison parses "len OP N" and "proto[offset:size] & MASK OP N", where & MASK may be missing.
func (p *parser) comparison() (expr, error) {
	x := cmpExpr{mask: ^uint32(0)}
	if _, ok := p.take("len"); !ok {
		if err := p.accessor(&x); err != nil {
			return nil, err
		}
	}
	if _, ok := p.take("&"); ok {
		mask, err := p.values()
		if err != nil {
			return nil, err
		}
		x.mask = mask
	}
	op, ok := p.take(comparisons...)
	if !ok {
		return nil, p.fail("a comparison is missing; only & can come before it")
	}
	x.op = op
	value, err := p.values()
	x.value = value
	return x, err
}

// accessor parses "proto[offset:size]".
func (p *parser) accessor(x *cmpExpr) (err error) {
	if !slices.Contains(append(protoWords, "ether"), p.peek(0)) {
		return p.fail("packet bytes are those of a protocol")
	}
	x.proto = p.peek(0)
	p.pos += 2
	if x.off, err = p.value(); err != nil {
		return err
	}
	if x.off > 0xffff {
		p.pos--
		return p.fail("an offset of more than 65535")
	}
	x.size = 1
	if _, ok := p.take(":"); ok {
		if x.size, err = p.value(); err != nil {
			return err
		}
	}
	if x.size != 1 && x.size != 2 && x.size != 4 {
		p.pos--
		return p.fail("a size has to be 1, 2 or 4")
	}
	if _, ok := p.take("]"); !ok {
		return p.fail("a closing bracket is missing")
	}
	return nil
}

// values parses a value, or several in parentheses with | between them.
func (p *parser) values() (uint32, error) {
	if _, ok := p.take("("); !ok {
		return p.value()
	}
	v, err := p.value()
	for err == nil {
		if _, ok := p.take(")"); ok {
			return v, nil
		}
		if _, ok := p.take("|"); !ok {
			return 0, p.fail("| or a closing parenthesis is missing")
		}
		var w uint32
		w, err = p.value()
		v |= w
	}
	return 0, err
}

func (p *parser) value() (uint32, error) {
	w, err := p.word("a number")
	if err != nil {
		return 0, err
	}
	if n, ok := constants[w]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(w, 0, 32)
	if err != nil {
		p.pos--
		return 0, p.fail("this is no number")
	}
	return uint32(n), nil
}
