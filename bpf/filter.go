// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/net/bpf"
)

// A packet socket has one filter, so one that has a capture filter can have a shunt only if both are
// one program. The capture filter, in classic BPF, is translated as the kernel does it
// (net/core/filter.c, bpf_convert_filter) and put before the shunt.

// The registers of the translation. Loading from the packet takes the context in R6 and leaves R7 and
// up alone.
const (
	regA       = asm.R7
	regX       = asm.R8
	regTmp     = asm.R9
	regContext = asm.R6
)

const (
	scratchWords = 16   // BPF_MEMWORDS
	maxFilter    = 4096 // BPF_MAXINSNS
	classMask    = 0x07
	classJump    = 0x05
	classReturn  = 0x06
	labelAccept  = "capture_accept"
	labelReject  = "capture_reject"
)

// The fields of the context, struct __sk_buff, that classic BPF reads by way of negative offsets.
var ancillary = map[bpf.Extension]struct {
	offset int16
	swap   bool // from network byte order, 16 bits
}{
	bpf.ExtLen:            {0, false},
	bpf.ExtProto:          {16, true},
	bpf.ExtType:           {4, false},
	bpf.ExtInterfaceIndex: {40, false},
	bpf.ExtRXHash:         {68, false},
	bpf.ExtQueue:          {12, false},
	bpf.ExtMark:           {8, false},
	bpf.ExtVLANTagPresent: {20, false},
	bpf.ExtVLANTag:        {24, false},
	bpf.ExtVLANProto:      {28, true},
}

// prependFilter puts a classic filter before a program. It returns the most that the filter takes of a
// packet, for the program to return.
func prependFilter(filter []bpf.RawInstruction, program asm.Instructions) (asm.Instructions, uint32, error) {
	if len(filter) > maxFilter {
		return nil, 0, fmt.Errorf("capture filter of %d instructions, more than %d", len(filter), maxFilter)
	}
	if len(filter) == 0 || filter[len(filter)-1].Op&classMask != classReturn {
		return nil, 0, fmt.Errorf("capture filter does not end with a return")
	}
	t := &translation{reached: make([]bool, len(filter))}
	t.reached[0] = true
	t.prologue()
	for i, raw := range filter {
		if !t.reached[i] {
			continue // the kernel takes no extended BPF with instructions that nothing leads to
		}
		if err := t.instruction(i, raw); err != nil {
			return nil, 0, fmt.Errorf("capture filter, instruction %d: %w", i, err)
		}
	}
	t.epilogue()
	return t.joined(program), t.snap, nil
}

// A translation is the extended BPF that has been made so far.
type translation struct {
	out     asm.Instructions
	reached []bool // classic instructions that one before leads to
	snap    uint32 // the most that is accepted
	at      int    // the classic instruction that is being translated
	label   string // for the next instruction that is made
}

// emit labels the first instruction that is made of a classic one.
func (t *translation) emit(instructions ...asm.Instruction) {
	for _, ins := range instructions {
		if t.label != "" {
			ins, t.label = ins.WithSymbol(t.label), ""
		}
		t.out = append(t.out, ins)
	}
}

// prologue keeps the context, and clears what a filter could read before it was written. Its jump,
// never taken, is for a filter that refuses nothing: see epilogue.
func (t *translation) prologue() {
	t.emit(
		asm.Mov.Reg(regContext, asm.R1),
		asm.Mov.Imm(regA, 0),
		asm.Mov.Imm(regX, 0),
		asm.JNE.Imm(regA, 0, labelReject),
	)
	for i := range scratchWords {
		t.emit(asm.StoreImm(asm.RFP, scratch(i), 0, asm.Word))
	}
}

// epilogue is where the filter's returns lead to. Its jump, never taken, leads on to the program for a
// filter that accepts nothing, as nothing may be out of reach.
func (t *translation) epilogue() {
	t.emit(
		asm.Mov.Imm(asm.R0, 0).WithSymbol(labelReject),
		asm.JNE.Imm(asm.R0, 0, labelAccept),
		asm.Return(),
		asm.Mov.Reg(asm.R1, regContext).WithSymbol(labelAccept),
	)
}

func scratch(n int) int16 { return int16(-4 * (n + 1)) }

// joined moves the program's name and type to the front, where the kernel looks for them.
func (t *translation) joined(program asm.Instructions) asm.Instructions {
	name, function := program.Name(), btf.FuncMetadata(&program[0])
	all := append(t.out[:len(t.out):len(t.out)], program...)
	body := &all[len(t.out)]
	*body = btf.WithFuncMetadata(body.WithSymbol(""), nil)
	all[0] = all[0].WithSymbol(name).WithSource(asm.Comment("capture filter"))
	if function != nil {
		all[0] = btf.WithFuncMetadata(all[0], function)
	}
	return all
}

func target(i int) string { return fmt.Sprintf("capture_%d", i) }

// instruction translates the classic instruction at i.
func (t *translation) instruction(i int, raw bpf.RawInstruction) error {
	t.at, t.label = i, target(i)
	if class := raw.Op & classMask; class != classReturn && class != classJump {
		if _, err := t.after(0); err != nil {
			return err
		}
	}
	switch ins := raw.Disassemble().(type) {
	case bpf.LoadConstant:
		t.emit(asm.Mov.Imm32(register(ins.Dst), int32(ins.Val)))
	case bpf.LoadScratch:
		return t.scratch(ins.N, asm.LoadMem(register(ins.Dst), asm.RFP, scratch(ins.N), asm.Word))
	case bpf.StoreScratch:
		return t.scratch(ins.N, asm.StoreMem(asm.RFP, scratch(ins.N), register(ins.Src), asm.Word))
	case bpf.LoadAbsolute:
		t.load(asm.LoadAbs(int32(ins.Off), size(ins.Size)))
	case bpf.LoadIndirect:
		t.load(asm.LoadInd(asm.R0, regX, int32(ins.Off), size(ins.Size)))
	case bpf.LoadMemShift:
		t.emit(
			asm.LoadAbs(int32(ins.Off), asm.Byte),
			asm.And.Imm32(asm.R0, 0xF),
			asm.LSh.Imm32(asm.R0, 2),
			asm.Mov.Reg32(regX, asm.R0),
		)
	case bpf.LoadExtension:
		return t.extension(ins.Num)
	case bpf.ALUOpConstant:
		return t.arithmeticConstant(ins)
	case bpf.ALUOpX:
		return t.arithmeticX(ins.Op)
	case bpf.NegateA:
		t.emit(asm.Neg.Imm32(regA, 0))
	case bpf.Jump:
		return t.jump(ins.Skip)
	case bpf.JumpIf:
		return t.jumpIf(ins.Cond, ins.SkipTrue, ins.SkipFalse, func(op asm.JumpOp, to string) asm.Instruction {
			return op.Imm32(regA, int32(ins.Val), to)
		})
	case bpf.JumpIfX:
		return t.jumpIf(ins.Cond, ins.SkipTrue, ins.SkipFalse, func(op asm.JumpOp, to string) asm.Instruction {
			return op.Reg32(regA, regX, to)
		})
	case bpf.TAX:
		t.emit(asm.Mov.Reg32(regX, regA))
	case bpf.TXA:
		t.emit(asm.Mov.Reg32(regA, regX))
	case bpf.RetConstant:
		t.accept(ins.Val)
	case bpf.RetA:
		t.snap = ^uint32(0)
		t.emit(asm.JEq.Imm32(regA, 0, labelReject), asm.Ja.Label(labelAccept))
	default:
		return fmt.Errorf("cannot be translated: %v", ins)
	}
	return nil
}

func register(r bpf.Register) asm.Register {
	if r == bpf.RegX {
		return regX
	}
	return regA
}

func size(bytes int) asm.Size {
	switch bytes {
	case 1:
		return asm.Byte
	case 2:
		return asm.Half
	}
	return asm.Word
}

func (t *translation) accept(n uint32) {
	t.snap = max(t.snap, n)
	if n == 0 {
		t.emit(asm.Ja.Label(labelReject))
		return
	}
	t.emit(asm.Ja.Label(labelAccept))
}

func (t *translation) scratch(n int, ins asm.Instruction) error {
	if n < 0 || n >= scratchWords {
		return fmt.Errorf("no scratch word %d", n)
	}
	t.emit(ins)
	return nil
}

// load reads from the packet; beyond its end the whole filter ends, and refuses.
func (t *translation) load(ins asm.Instruction) {
	t.emit(ins, asm.Mov.Reg32(regA, asm.R0))
}

func (t *translation) extension(num bpf.Extension) error {
	field, ok := ancillary[num]
	if !ok {
		return fmt.Errorf("extension %d is not possible", num)
	}
	t.emit(asm.LoadMem(regA, regContext, field.offset, asm.Word))
	if field.swap {
		t.emit(asm.HostTo(asm.BE, regA, asm.Half))
	}
	return nil
}

var arithmetic = map[bpf.ALUOp]asm.ALUOp{
	bpf.ALUOpAdd:        asm.Add,
	bpf.ALUOpSub:        asm.Sub,
	bpf.ALUOpMul:        asm.Mul,
	bpf.ALUOpDiv:        asm.Div,
	bpf.ALUOpOr:         asm.Or,
	bpf.ALUOpAnd:        asm.And,
	bpf.ALUOpShiftLeft:  asm.LSh,
	bpf.ALUOpShiftRight: asm.RSh,
	bpf.ALUOpMod:        asm.Mod,
	bpf.ALUOpXor:        asm.Xor,
}

func divides(op bpf.ALUOp) bool { return op == bpf.ALUOpDiv || op == bpf.ALUOpMod }

func shifts(op bpf.ALUOp) bool { return op == bpf.ALUOpShiftLeft || op == bpf.ALUOpShiftRight }

func (t *translation) arithmeticConstant(ins bpf.ALUOpConstant) error {
	op, ok := arithmetic[ins.Op]
	switch {
	case !ok:
		return fmt.Errorf("cannot be translated: %v", ins)
	case divides(ins.Op) && ins.Val == 0:
		return fmt.Errorf("division by zero")
	case shifts(ins.Op) && ins.Val > 31:
		return fmt.Errorf("shift by %d bits", ins.Val)
	}
	t.emit(op.Imm32(regA, int32(ins.Val)))
	return nil
}

// arithmeticX refuses the packet where X is zero and divides, as classic BPF does.
func (t *translation) arithmeticX(alu bpf.ALUOp) error {
	op, ok := arithmetic[alu]
	if !ok {
		return fmt.Errorf("cannot be translated: %v", bpf.ALUOpX{Op: alu})
	}
	if divides(alu) {
		t.emit(asm.JEq.Imm32(regX, 0, labelReject))
	}
	if shifts(alu) {
		// The verifier wants to know that the shift is one of 32 bits.
		t.emit(asm.Mov.Reg32(regTmp, regX), asm.And.Imm32(regTmp, 31), op.Reg32(regA, regTmp))
		return nil
	}
	t.emit(op.Reg32(regA, regX))
	return nil
}

func (t *translation) jump(skip uint32) error {
	to, err := t.after(skip)
	if err != nil {
		return err
	}
	t.emit(asm.Ja.Label(to))
	return nil
}

// after is the label so many instructions beyond the next: jumps go forward only, and stay inside the
// program.
func (t *translation) after(skip uint32) (string, error) {
	to := int64(t.at) + 1 + int64(skip)
	if to >= int64(len(t.reached)) {
		return "", fmt.Errorf("leads beyond the end")
	}
	t.reached[to] = true
	return target(int(to)), nil
}

// conditions has, for each test, the jump to the true branch, or the opposite one to the false branch.
var conditions = map[bpf.JumpTest]struct {
	op     asm.JumpOp
	negate bool
}{
	bpf.JumpEqual:          {asm.JEq, false},
	bpf.JumpNotEqual:       {asm.JNE, false},
	bpf.JumpGreaterThan:    {asm.JGT, false},
	bpf.JumpLessThan:       {asm.JLT, false},
	bpf.JumpGreaterOrEqual: {asm.JGE, false},
	bpf.JumpLessOrEqual:    {asm.JLE, false},
	bpf.JumpBitsSet:        {asm.JSet, false},
	bpf.JumpBitsNotSet:     {asm.JSet, true},
}

func (t *translation) jumpIf(test bpf.JumpTest, yes, no uint8, ins func(asm.JumpOp, string) asm.Instruction) error {
	c, ok := conditions[test]
	if !ok {
		return fmt.Errorf("unknown condition %d", test)
	}
	if c.negate {
		yes, no = no, yes
	}
	ifSo, err := t.after(uint32(yes))
	if err != nil {
		return err
	}
	ifNot, err := t.after(uint32(no))
	if err != nil {
		return err
	}
	t.emit(ins(c.op, ifSo), asm.Ja.Label(ifNot))
	return nil
}
