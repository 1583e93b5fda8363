// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"
	"math"

	"golang.org/x/net/bpf"
)

// maxProgram is the kernel's bound on a classic program, in instructions (BPF_MAXINSNS).
const maxProgram = 4096

// Compile compiles an expression for packets of a link. The program returns snaplen, the number of
// bytes to take of a packet, for those that fit, and 0 for others; an empty expression fits all. What
// is wrong with an expression is an *Error.
func Compile(expression string, link Link, snaplen uint32) ([]bpf.Instruction, error) {
	x, err := parse(expression)
	if err != nil {
		return nil, err
	}
	at := place{link: link}
	if link == Ethernet {
		at.typ, at.net = 12, 14
	}
	n := node(constant(true))
	if x != nil {
		if n, err = new(builder).build(x, at, end); err != nil {
			return nil, err
		}
	}
	var c coder
	accept, reject := c.label(), c.label()
	c.code(n, accept, reject)
	c.put(accept)
	c.out = append(c.out, step{ins: bpf.RetConstant{Val: snaplen}})
	c.put(reject)
	c.out = append(c.out, step{ins: bpf.RetConstant{}})
	return c.layout()
}

// step is an instruction whose jumps are not resolved.
type step struct {
	ins  bpf.Instruction // nil: a jump
	test *test           // nil: the jump goes to yes
	yes  label
	no   label
	long bool // the jump is too far for its fields
}

// label is the index of a place in the program.
type label int

type coder struct {
	out    []step
	labels []int // indexes of out
}

func (c *coder) label() label {
	c.labels = append(c.labels, -1)
	return label(len(c.labels) - 1)
}

// put puts a label before the next instruction.
func (c *coder) put(l label) { c.labels[l] = len(c.out) }

// code generates the tests of n, which go on at yes or no.
func (c *coder) code(n node, yes, no label) {
	switch n := n.(type) {
	case andNode:
		next := c.label()
		c.code(n.a, next, no)
		c.put(next)
		c.code(n.b, yes, no)
	case orNode:
		next := c.label()
		c.code(n.a, yes, next)
		c.put(next)
		c.code(n.b, yes, no)
	case notNode:
		c.code(n.x, no, yes)
	case constant:
		if !n {
			yes = no
		}
		c.out = append(c.out, step{yes: yes})
	case test:
		for _, ins := range n.load {
			c.out = append(c.out, step{ins: ins})
		}
		c.out = append(c.out, step{test: &n, yes: yes, no: no})
	}
}

// size is how many instructions a step takes: a test whose target is far needs two jumps more.
func (s *step) size() int {
	if s.long {
		return 3
	}
	return 1
}

// layout resolves the jumps. Making one long moves others, so that it is done until none changes.
func (c *coder) layout() ([]bpf.Instruction, error) {
	offsets := make([]int, len(c.out)+1)
	for changed := true; changed; {
		changed = false
		for i := range c.out {
			offsets[i+1] = offsets[i] + c.out[i].size()
		}
		if offsets[len(c.out)] > maxProgram {
			return nil, errTooLarge
		}
		for i := range c.out {
			s := &c.out[i]
			far := func(l label) bool { return offsets[c.labels[l]]-offsets[i]-1 > math.MaxUint8 }
			if s.test != nil && !s.long && (far(s.yes) || far(s.no)) {
				s.long, changed = true, true
			}
		}
	}
	program := make([]bpf.Instruction, 0, offsets[len(c.out)])
	for i, s := range c.out {
		to := func(l label, from int) int { return offsets[c.labels[l]] - from - 1 }
		at := offsets[i]
		switch {
		case s.ins != nil:
			program = append(program, s.ins)
		case s.test == nil:
			program = append(program, bpf.Jump{Skip: uint32(to(s.yes, at))})
		case s.long:
			program = append(program, bpf.JumpIf{Cond: s.test.cond, Val: s.test.value, SkipFalse: 1},
				bpf.Jump{Skip: uint32(to(s.yes, at+1))}, bpf.Jump{Skip: uint32(to(s.no, at+2))})
		default:
			program = append(program, bpf.JumpIf{
				Cond: s.test.cond, Val: s.test.value,
				SkipTrue: uint8(to(s.yes, at)), SkipFalse: uint8(to(s.no, at)),
			})
		}
	}
	return program, nil
}

// Assemble compiles an expression to what a socket takes.
func Assemble(expression string, link Link, snaplen uint32) ([]bpf.RawInstruction, error) {
	program, err := Compile(expression, link, snaplen)
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return raw, nil
}
