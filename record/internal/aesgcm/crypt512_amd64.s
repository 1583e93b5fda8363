// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"
#include "reduce_amd64.h"

// lanes are 0 to 3, and four fours, in the lowest words of four blocks.
DATA lanes<>+0(SB)/8, $0
DATA lanes<>+8(SB)/8, $0
DATA lanes<>+16(SB)/8, $1
DATA lanes<>+24(SB)/8, $0
DATA lanes<>+32(SB)/8, $2
DATA lanes<>+40(SB)/8, $0
DATA lanes<>+48(SB)/8, $3
DATA lanes<>+56(SB)/8, $0
GLOBL lanes<>(SB), (NOPTR+RODATA), $64
DATA four<>+0(SB)/8, $4
DATA four<>+8(SB)/8, $0
GLOBL four<>(SB), (NOPTR+RODATA), $16

// KEYS puts the round keys into Z16 to Z29, as many as there are, and the last into Z30.
#define KEYS \
	VBROADCASTI32X4 0(BX), Z16   \
	VBROADCASTI32X4 16(BX), Z17  \
	VBROADCASTI32X4 32(BX), Z18  \
	VBROADCASTI32X4 48(BX), Z19  \
	VBROADCASTI32X4 64(BX), Z20  \
	VBROADCASTI32X4 80(BX), Z21  \
	VBROADCASTI32X4 96(BX), Z22  \
	VBROADCASTI32X4 112(BX), Z23 \
	VBROADCASTI32X4 128(BX), Z24 \
	VBROADCASTI32X4 144(BX), Z25 \
	VBROADCASTI32X4 160(BX), Z26 \
	VBROADCASTI32X4 176(BX), Z27 \
	VBROADCASTI32X4 192(BX), Z28 \
	VBROADCASTI32X4 208(BX), Z29 \
	MOVQ AX, R10                 \
	SHLQ $4, R10                 \
	VBROADCASTI32X4 (BX)(R10*1), Z30 \
	VBROADCASTI32X4 ·reverse(SB), Z31

// COUNTERS puts the next four counters into Z15, in reverse order.
#define COUNTERS \
	VBROADCASTI32X4 (R8), Z15      \
	VPSHUFB Z31, Z15, Z15          \
	VPADDD  lanes<>(SB), Z15, Z15  \
	VBROADCASTI32X4 four<>(SB), Z14

// NEXT takes four counters, and the first round key.
#define NEXT(Z) \
	VPSHUFB Z31, Z15, Z   \
	VPADDD  Z14, Z15, Z15 \
	VPXORQ  Z16, Z, Z

#define ROUND(K) \
	VAESENC K, Z0, Z0 \
	VAESENC K, Z1, Z1 \
	VAESENC K, Z2, Z2 \
	VAESENC K, Z3, Z3

#define FOUR \
	NEXT(Z0) \
	NEXT(Z1) \
	NEXT(Z2) \
	NEXT(Z3)

#define ROUNDS256 \
	ROUND(Z26) \
	ROUND(Z27) \
	ROUND(Z28) \
	ROUND(Z29)

#define LAST \
	VAESENCLAST Z30, Z0, Z0 \
	VAESENCLAST Z30, Z1, Z1 \
	VAESENCLAST Z30, Z2, Z2 \
	VAESENCLAST Z30, Z3, Z3

// ADD adds the products of four blocks with their powers to the low, the high and the middle halves.
#define ADD(AT, BLOCKS) \
	VPCLMULQDQ $0x00, AT(DX), BLOCKS, Z8     \
	VPXORQ Z8, Z9, Z9                        \
	VPCLMULQDQ $0x11, AT(DX), BLOCKS, Z8     \
	VPXORQ Z8, Z10, Z10                      \
	VPCLMULQDQ $0x01, AT(DX), BLOCKS, Z8     \
	VPCLMULQDQ $0x10, AT(DX), BLOCKS, BLOCKS \
	VPTERNLOGQ $0x96, Z8, BLOCKS, Z11

// FOLD adds up the four lanes of Z.
#define FOLD(Z, Y, X) \
	VEXTRACTI64X4 $1, Z, Y8 \
	VPXORQ  Y8, Y, Y        \
	VEXTRACTI128 $1, Y, X8  \
	VPXOR   X8, X, X

// func crypt512(keys *[15][16]byte, rounds int, powers *[16]element, counter *[16]byte, sum *element, dst, src *byte, n int)
//
// The multiplications stand between the rounds: the processor does not look far enough ahead to find
// them behind all of these.
TEXT ·crypt512(SB), NOSPLIT, $0-64
	MOVQ keys+0(FP), BX
	MOVQ rounds+8(FP), AX
	MOVQ powers+16(FP), DX
	MOVQ counter+24(FP), R8
	MOVQ sum+32(FP), R9
	MOVQ dst+40(FP), DI
	MOVQ src+48(FP), SI
	MOVQ n+56(FP), CX
	KEYS
	COUNTERS
	VMOVDQU (R9), X13
	VMOVDQU ·poly(SB), X12

sixteen:
	FOUR
	VMOVDQU64 64(SI), Z5
	VMOVDQU64 128(SI), Z6
	VMOVDQU64 192(SI), Z7
	VMOVDQU64 0(SI), Z4
	VPSHUFB Z31, Z5, Z5
	VPXORQ  Z9, Z9, Z9
	VPXORQ  Z10, Z10, Z10
	VPXORQ  Z11, Z11, Z11
	ROUND(Z17)
	ADD(64, Z5)
	ROUND(Z18)
	VPSHUFB Z31, Z6, Z6
	ROUND(Z19)
	ADD(128, Z6)
	ROUND(Z20)
	VPSHUFB Z31, Z7, Z7
	ROUND(Z21)
	ADD(192, Z7)
	ROUND(Z22)
	VPSHUFB Z31, Z4, Z4
	VPXORQ  Z13, Z4, Z4
	ROUND(Z23)
	ADD(0, Z4)
	ROUND(Z24)
	VPSLLDQ $8, Z11, Z8
	VPSRLDQ $8, Z11, Z11
	VPXORQ  Z8, Z9, Z9
	VPXORQ  Z11, Z10, Z10
	ROUND(Z25)
	FOLD(Z9, Y9, X9)
	FOLD(Z10, Y10, X10)
	REDUCE(X9, X10, X8, X12)
	VPXOR   X9, X10, X13
	CMPQ AX, $10
	JEQ  last
	ROUNDS256

last:
	LAST
	VPXORQ 0(SI), Z0, Z0
	VPXORQ 64(SI), Z1, Z1
	VPXORQ 128(SI), Z2, Z2
	VPXORQ 192(SI), Z3, Z3
	VMOVDQU64 Z0, 0(DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	ADDQ    $256, SI
	ADDQ    $256, DI
	DECQ    CX
	JNZ     sixteen

	VMOVDQU X13, (R9)
	VPSHUFB X31, X15, X15
	VMOVDQU64 X15, (R8)
	VZEROUPPER
	RET

// func stream512(keys *[15][16]byte, rounds int, counter *[16]byte, piece *[256]byte)
TEXT ·stream512(SB), NOSPLIT, $0-32
	MOVQ keys+0(FP), BX
	MOVQ rounds+8(FP), AX
	MOVQ counter+16(FP), R8
	MOVQ piece+24(FP), DI
	KEYS
	COUNTERS
	FOUR
	ROUND(Z17)
	ROUND(Z18)
	ROUND(Z19)
	ROUND(Z20)
	ROUND(Z21)
	ROUND(Z22)
	ROUND(Z23)
	ROUND(Z24)
	ROUND(Z25)
	CMPQ AX, $10
	JEQ  last
	ROUNDS256

last:
	LAST
	VPXORQ 0(DI), Z0, Z0
	VPXORQ 64(DI), Z1, Z1
	VPXORQ 128(DI), Z2, Z2
	VPXORQ 192(DI), Z3, Z3
	VMOVDQU64 Z0, 0(DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	VZEROUPPER
	RET
