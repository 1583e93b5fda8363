// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"
#include "reduce_amd64.h"

// reverse puts the bytes of a block in reverse order.
DATA ·reverse+0(SB)/8, $0x08090a0b0c0d0e0f
DATA ·reverse+8(SB)/8, $0x0001020304050607
GLOBL ·reverse(SB), (NOPTR+RODATA), $16

// poly is what a carry out of GF(2^128) is reduced with, in reverse order.
DATA ·poly+0(SB)/8, $0x0000000000000001
DATA ·poly+8(SB)/8, $0xc200000000000000
GLOBL ·poly(SB), (NOPTR+RODATA), $16

// func subWord(w uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVL   w+0(FP), AX
	MOVQ   AX, X0
	PSHUFD $0, X0, X0
	AESKEYGENASSIST $0, X0, X0
	MOVQ   X0, AX
	MOVL   AX, ret+8(FP)
	RET

// func encrypt(keys *[15][16]byte, rounds int, dst, src *[16]byte)
TEXT ·encrypt(SB), NOSPLIT, $0-32
	MOVQ   keys+0(FP), BX
	MOVQ   rounds+8(FP), AX
	MOVQ   dst+16(FP), DI
	MOVQ   src+24(FP), SI
	MOVUPS (SI), X0
	MOVUPS (BX), X1
	PXOR   X1, X0
	DECQ   AX

round:
	ADDQ   $16, BX
	MOVUPS (BX), X1
	AESENC X1, X0
	DECQ   AX
	JNZ    round
	MOVUPS 16(BX), X1
	AESENCLAST X1, X0
	MOVUPS X0, (DI)
	RET

// MUL sets X0 to X0·X1, modulo the polynomial X5. X1 was made ready.
#define MUL \
	VPCLMULQDQ $0x00, X1, X0, X2 \
	VPCLMULQDQ $0x11, X1, X0, X3 \
	VPCLMULQDQ $0x01, X1, X0, X4 \
	VPCLMULQDQ $0x10, X1, X0, X0 \
	VPXOR   X0, X4, X4     \
	VPSLLDQ $8, X4, X0     \
	VPSRLDQ $8, X4, X4     \
	VPXOR   X0, X2, X2     \
	VPXOR   X4, X3, X3     \
	REDUCE(X2, X3, X4, X5) \
	VPXOR   X2, X3, X0

// func mul(sum, power *element)
TEXT ·mul(SB), NOSPLIT, $0-16
	MOVQ    sum+0(FP), DI
	MOVQ    power+8(FP), SI
	VMOVDQU (DI), X0
	VMOVDQU (SI), X1
	VMOVDQU ·poly(SB), X5
	MUL
	VMOVDQU X0, (DI)
	RET

// func ghash(sum, power *element, data *byte, blocks int)
TEXT ·ghash(SB), NOSPLIT, $0-32
	MOVQ    sum+0(FP), DI
	MOVQ    power+8(FP), DX
	MOVQ    data+16(FP), SI
	MOVQ    blocks+24(FP), CX
	VMOVDQU (DI), X0
	VMOVDQU (DX), X1
	VMOVDQU ·poly(SB), X5
	VMOVDQU ·reverse(SB), X6

block:
	VMOVDQU (SI), X7
	VPSHUFB X6, X7, X7
	VPXOR   X7, X0, X0
	MUL
	ADDQ    $16, SI
	DECQ    CX
	JNZ     block
	VMOVDQU X0, (DI)
	RET
