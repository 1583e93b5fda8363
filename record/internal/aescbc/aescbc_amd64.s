// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"

// func subWord(w uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVL   w+0(FP), AX
	MOVQ   AX, X0
	PSHUFD $0, X0, X0
	AESKEYGENASSIST $0, X0, X0
	MOVQ   X0, AX
	MOVL   AX, ret+8(FP)
	RET

// func invMixColumns(k *[16]byte)
TEXT ·invMixColumns(SB), NOSPLIT, $0-8
	MOVQ   k+0(FP), AX
	MOVUPS (AX), X0
	AESIMC X0, X0
	MOVUPS X0, (AX)
	RET

// func decryptBlocks(rounds int, keys, dst, src, iv *byte, blocks int)
//
// AX rounds, BX keys, DI dst, SI src, CX blocks left, DX and R8 the loop over the rounds.
// X0 to X7 are blocks, X8 a round key, X9 the ciphertext block before them.
TEXT ·decryptBlocks(SB), NOSPLIT, $0-48
	MOVQ   rounds+0(FP), AX
	MOVQ   keys+8(FP), BX
	MOVQ   dst+16(FP), DI
	MOVQ   src+24(FP), SI
	MOVQ   iv+32(FP), DX
	MOVQ   blocks+40(FP), CX
	MOVUPS (DX), X9
	SUBQ   $1, AX
	SUBQ   $8, CX
	JCS    tail

eight:
	MOVUPS (BX), X8
	MOVUPS (SI), X0
	MOVUPS 16(SI), X1
	MOVUPS 32(SI), X2
	MOVUPS 48(SI), X3
	MOVUPS 64(SI), X4
	MOVUPS 80(SI), X5
	MOVUPS 96(SI), X6
	MOVUPS 112(SI), X7
	PXOR   X8, X0
	PXOR   X8, X1
	PXOR   X8, X2
	PXOR   X8, X3
	PXOR   X8, X4
	PXOR   X8, X5
	PXOR   X8, X6
	PXOR   X8, X7
	MOVQ   BX, DX
	MOVQ   AX, R8

eightRounds:
	ADDQ   $16, DX
	MOVUPS (DX), X8
	AESDEC X8, X0
	AESDEC X8, X1
	AESDEC X8, X2
	AESDEC X8, X3
	AESDEC X8, X4
	AESDEC X8, X5
	AESDEC X8, X6
	AESDEC X8, X7
	SUBQ   $1, R8
	JNE    eightRounds
	MOVUPS 16(DX), X8
	AESDECLAST X8, X0
	AESDECLAST X8, X1
	AESDECLAST X8, X2
	AESDECLAST X8, X3
	AESDECLAST X8, X4
	AESDECLAST X8, X5
	AESDECLAST X8, X6
	AESDECLAST X8, X7

	// Each block is chained to the ciphertext before it.
	PXOR   X9, X0
	MOVUPS (SI), X10
	MOVUPS 16(SI), X11
	MOVUPS 32(SI), X12
	MOVUPS 48(SI), X13
	MOVUPS 64(SI), X14
	MOVUPS 80(SI), X15
	PXOR   X10, X1
	PXOR   X11, X2
	PXOR   X12, X3
	PXOR   X13, X4
	PXOR   X14, X5
	PXOR   X15, X6
	MOVUPS 96(SI), X10
	MOVUPS 112(SI), X9
	PXOR   X10, X7
	MOVUPS X0, (DI)
	MOVUPS X1, 16(DI)
	MOVUPS X2, 32(DI)
	MOVUPS X3, 48(DI)
	MOVUPS X4, 64(DI)
	MOVUPS X5, 80(DI)
	MOVUPS X6, 96(DI)
	MOVUPS X7, 112(DI)
	ADDQ   $128, SI
	ADDQ   $128, DI
	SUBQ   $8, CX
	JCC    eight

tail:
	ADDQ   $8, CX
	JEQ    done

one:
	MOVUPS (SI), X1
	MOVUPS (BX), X0
	PXOR   X1, X0
	MOVQ   BX, DX
	MOVQ   AX, R8

oneRounds:
	ADDQ   $16, DX
	MOVUPS (DX), X8
	AESDEC X8, X0
	SUBQ   $1, R8
	JNE    oneRounds
	MOVUPS 16(DX), X8
	AESDECLAST X8, X0
	PXOR   X9, X0
	MOVAPS X1, X9
	MOVUPS X0, (DI)
	ADDQ   $16, SI
	ADDQ   $16, DI
	SUBQ   $1, CX
	JNE    one

done:
	RET
