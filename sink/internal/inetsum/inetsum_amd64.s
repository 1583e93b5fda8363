// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"

// ADD adds the even 32-bit words of X to the 64-bit words of EVEN, and the odd ones to those of ODD.
#define ADD(X, T, EVEN, ODD) \
	VPSRLQ $32, X, T    \
	VPAND  Y8, X, X     \
	VPADDQ X, EVEN, EVEN \
	VPADDQ T, ODD, ODD

// func blocksAVX2(b *byte, n int) uint64
TEXT ·blocksAVX2(SB), NOSPLIT, $0-24
	MOVQ b+0(FP), SI
	MOVQ n+8(FP), CX
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	VPCMPEQD Y8, Y8, Y8
	VPSRLQ $32, Y8, Y8

block:
	VMOVDQU 0(SI), Y4
	VMOVDQU 32(SI), Y5
	ADD(Y4, Y6, Y0, Y1)
	ADD(Y5, Y7, Y2, Y3)
	ADDQ $64, SI
	DECQ CX
	JNZ  block

	VPADDQ Y1, Y0, Y0
	VPADDQ Y3, Y2, Y2
	VPADDQ Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDQ X1, X0, X0
	VPSRLDQ $8, X0, X1
	VPADDQ X1, X0, X0
	VMOVQ X0, AX
	MOVQ AX, ret+16(FP)
	VZEROUPPER
	RET
