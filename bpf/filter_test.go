// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/net/bpf"
)

// A branch is a small filter. Many of them make one program, by a byte of the packet, so that one load
// is enough for all.
type branch struct {
	name string
	code []bpf.Instruction
}

// branches cover every instruction that the interpreter has. Packets have, behind the number of the branch, words
// at 4, 8 and 12 that are random.
func branches() (all []branch) {
	load := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 8, Size: 4}, bpf.TAX{}, bpf.LoadAbsolute{Off: 4, Size: 4},
	}
	// Some bits of the result, which ones the packet says, decide.
	judge := []bpf.Instruction{
		bpf.StoreScratch{Src: bpf.RegA, N: 1}, bpf.LoadAbsolute{Off: 12, Size: 4}, bpf.TAX{},
		bpf.LoadScratch{Dst: bpf.RegA, N: 1}, bpf.ALUOpX{Op: bpf.ALUOpAnd}, bpf.RetA{},
	}
	add := func(name string, code ...bpf.Instruction) {
		all = append(all, branch{name, append(append(append([]bpf.Instruction(nil), load...), code...), judge...)})
	}
	for name, op := range map[string]bpf.ALUOp{
		"add": bpf.ALUOpAdd, "sub": bpf.ALUOpSub, "mul": bpf.ALUOpMul, "div": bpf.ALUOpDiv, "or": bpf.ALUOpOr,
		"and": bpf.ALUOpAnd, "mod": bpf.ALUOpMod, "xor": bpf.ALUOpXor,
	} {
		add(name+" x", bpf.ALUOpX{Op: op})
		add(name+" constant", bpf.ALUOpConstant{Op: op, Val: 0x9ABCDEF1})
		add(name+" small constant", bpf.ALUOpConstant{Op: op, Val: 7})
	}
	for name, op := range map[string]bpf.ALUOp{"left": bpf.ALUOpShiftLeft, "right": bpf.ALUOpShiftRight} {
		add("shift "+name+" constant", bpf.ALUOpConstant{Op: op, Val: 5})
		add("shift "+name+" x",
			bpf.StoreScratch{Src: bpf.RegA, N: 2}, bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 31},
			bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: 2}, bpf.ALUOpX{Op: op})
	}
	invert := bpf.ALUOpConstant{Op: bpf.ALUOpXor, Val: 0xFFFFFFFF}
	add("constant", bpf.LoadConstant{Dst: bpf.RegA, Val: 0xDEADBEEF})
	add("scratch x", bpf.StoreScratch{Src: bpf.RegX, N: 15}, bpf.LoadScratch{Dst: bpf.RegA, N: 15})
	add("scratch never written", bpf.LoadScratch{Dst: bpf.RegA, N: 9})
	add("length", bpf.LoadExtension{Num: bpf.ExtLen})
	for _, size := range []int{1, 2, 4} {
		add("absolute", bpf.LoadAbsolute{Off: 13, Size: size})
		add("absolute beyond", bpf.LoadAbsolute{Off: 60, Size: size})
		add("indirect", bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 63}, bpf.TAX{}, bpf.LoadIndirect{Off: 3, Size: size})
	}
	add("indirect far beyond", bpf.LoadIndirect{Off: 4, Size: 4})
	add("header length", bpf.LoadMemShift{Off: 9}, bpf.TXA{})
	add("jump", bpf.Jump{Skip: 1}, bpf.RetConstant{Val: 0}, invert)
	for name, test := range map[string]bpf.JumpTest{
		"eq": bpf.JumpEqual, "ne": bpf.JumpNotEqual, "gt": bpf.JumpGreaterThan, "lt": bpf.JumpLessThan,
		"ge": bpf.JumpGreaterOrEqual, "le": bpf.JumpLessOrEqual, "set": bpf.JumpBitsSet, "not set": bpf.JumpBitsNotSet,
	} {
		for _, value := range []uint32{5, 0x80000000, 0x7FFFFFFF, 0xFFFFFFF0} {
			add("if "+name, bpf.JumpIf{Cond: test, Val: value, SkipTrue: 1}, invert, bpf.TXA{})
			add("if not "+name, bpf.JumpIf{Cond: test, Val: value, SkipFalse: 1}, bpf.TXA{})
		}
		add("if "+name+" x", bpf.JumpIfX{Cond: test, SkipTrue: 1, SkipFalse: 2}, bpf.RetConstant{Val: 9}, bpf.RetConstant{Val: 0})
	}
	return all
}

// joined makes one program of all branches.
func joined(all []branch) (code []bpf.Instruction) {
	for i, b := range all {
		code = append(code,
			bpf.LoadAbsolute{Off: 0, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(i), SkipTrue: 1},
			bpf.Jump{Skip: uint32(len(b.code))})
		code = append(code, b.code...)
	}
	return append(code, bpf.RetConstant{Val: 0})
}

// loadFilter loads a capture filter before the shunt.
func loadFilter(t *testing.T, s *Shunt, code []bpf.Instruction) *ebpf.Program {
	t.Helper()
	raw, err := bpf.Assemble(code)
	ok(t, err)
	program, err := s.program(raw)
	ok(t, err)
	return program
}

// filter compares the translation, in the kernel, with an interpreter of classic BPF.
func (b *shuntBench) filter(t *testing.T) {
	all := branches()
	code := joined(all)
	program := loadFilter(t, b.Shunt, code)
	vm, err := bpf.NewVM(code)
	ok(t, err)
	random := rand.New(rand.NewPCG(6, 6))
	if len(all) > 256 {
		t.Fatalf("%d branches", len(all))
	}
	for i, branch := range all {
		var accepted int
		const runs = 60
		for range runs {
			frame := make([]byte, 15+random.IntN(60))
			for j := range frame {
				frame[j] = byte(random.Uint32())
			}
			if random.IntN(2) == 0 && len(frame) > 14+8 { // small words meet small constants
				copy(frame[14+4:], []byte{0, 0, 0, byte(random.IntN(10))})
				frame[14+8] = 0
			}
			copy(frame, make([]byte, 12))
			frame[12], frame[13], frame[14] = 0x88, 0xB5, byte(i)
			want, err := vm.Run(frame[14:])
			ok(t, err)
			// A test run has taken the Ethernet header off.
			got, err := program.Run(&ebpf.RunOptions{Data: frame})
			ok(t, err)
			if want > 0 {
				accepted++
			}
			if (got == wholePacket) != (want > 0) || got != 0 && got != wholePacket {
				t.Fatalf("%s: got %d, want %d, for % x", branch.name, got, want, frame[14:])
			}
		}
		if accepted == runs {
			t.Errorf("%s: accepted all, so nothing is shown", branch.name)
		}
	}
}

// filterThenShunt keeps what the filter says of the length, and drops flows all the same.
func (b *shuntBench) filterThenShunt(t *testing.T) {
	s := b.Shunt
	begun, err := s.Stats()
	ok(t, err)
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1}, // the protocol, in a test run
		bpf.NegateA{},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0xFFFFFFFA, SkipFalse: 3},
		bpf.RetConstant{Val: 96},
		bpf.LoadConstant{Dst: bpf.RegA, Val: 1}, // nothing leads here
		bpf.RetConstant{Val: 1000},
		bpf.RetConstant{Val: 0},
	}
	program := loadFilter(t, s, code)
	if loadFilter(t, s, code) != program {
		t.Error("the same filter was loaded twice")
	}
	ok(t, s.Add(client4, server4))
	run := func(p packet) uint32 {
		got, err := program.Run(&ebpf.RunOptions{Data: p.bytes(t)})
		ok(t, err)
		return got
	}
	other := stacks[0].on("A")
	other.from = netip.MustParseAddrPort("192.0.2.9:9")
	notTCP := other
	notTCP.protocol = &udp
	for want, p := range map[uint32]packet{96: other, 0: notTCP} {
		if got := run(p); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	if got := run(stacks[0].on("A")); got != 0 {
		t.Errorf("of a shunted flow got %d", got)
	}
	if st, err := s.Stats(); err != nil || st.Shunted.Packets != begun.Shunted.Packets+1 {
		t.Errorf("counted %+v, %v", st, err)
	}
	t.Run("accepts nothing", func(t *testing.T) {
		program = loadFilter(t, s, []bpf.Instruction{bpf.RetConstant{Val: 0}})
		if got := run(other); got != 0 {
			t.Errorf("got %d", got)
		}
	})
}

// TestFilterRefused are programs that the kernel would not take as classic BPF either.
func TestFilterRefused(t *testing.T) {
	ret := bpf.RawInstruction{Op: 0x06, K: 1}
	for want, code := range map[string][]bpf.RawInstruction{
		"end with a return":    {{Op: 0x00}},
		"beyond the end":       {{Op: 0x05, K: 5}, ret},
		"instruction 0":        {{Op: 0x15, Jt: 9}, ret},
		"division by zero":     {{Op: 0x34, K: 0}, ret},
		"shift by 32 bits":     {{Op: 0x64, K: 32}, ret},
		"cannot be translated": {{Op: 0x02, K: 16}, ret},
		"extension 28":         {{Op: 0x28, K: 0xFFFFF000 + 28}, ret},
		"more than 4096":       append(make([]bpf.RawInstruction, 4096), ret),
	} {
		if _, err := (&shuntConfig{flows: 1, idle: 1}).spec(code); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
