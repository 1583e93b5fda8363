// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"
#include "reduce_amd64.h"

// pair is 0 and 1, and two twice 2, in the lowest words of two blocks.
DATA pair<>+0(SB)/8, $0
DATA pair<>+8(SB)/8, $0
DATA pair<>+16(SB)/8, $1
DATA pair<>+24(SB)/8, $0
GLOBL pair<>(SB), (NOPTR+RODATA), $32
DATA two<>+0(SB)/8, $2
DATA two<>+8(SB)/8, $0
DATA two<>+16(SB)/8, $2
DATA two<>+24(SB)/8, $0
GLOBL two<>(SB), (NOPTR+RODATA), $32

// COUNTERS puts the next two counters into Y14, in reverse order, and the last round key's place into R10.
#define COUNTERS \
	VBROADCASTI128 ·reverse(SB), Y15 \
	VBROADCASTI128 (R8), Y14      \
	VPSHUFB Y15, Y14, Y14         \
	VPADDD  pair<>(SB), Y14, Y14  \
	MOVQ    AX, R10               \
	SHLQ    $4, R10               \
	ADDQ    BX, R10

// NEXT takes two counters, and the first round key.
#define NEXT(Y) \
	VPSHUFB Y15, Y14, Y         \
	VPADDD  two<>(SB), Y14, Y14 \
	VPXOR   Y8, Y, Y

#define EIGHT \
	VBROADCASTI128 (BX), Y8 \
	NEXT(Y0) \
	NEXT(Y1) \
	NEXT(Y2) \
	NEXT(Y3) \
	NEXT(Y4) \
	NEXT(Y5) \
	NEXT(Y6) \
	NEXT(Y7)

#define ROUND(K) \
	VBROADCASTI128 (16*K)(BX), Y8 \
	VAESENC Y8, Y0, Y0 \
	VAESENC Y8, Y1, Y1 \
	VAESENC Y8, Y2, Y2 \
	VAESENC Y8, Y3, Y3 \
	VAESENC Y8, Y4, Y4 \
	VAESENC Y8, Y5, Y5 \
	VAESENC Y8, Y6, Y6 \
	VAESENC Y8, Y7, Y7

#define ROUNDS256 \
	ROUND(10) \
	ROUND(11) \
	ROUND(12) \
	ROUND(13)

#define LAST \
	VBROADCASTI128 (R10), Y8 \
	VAESENCLAST Y8, Y0, Y0 \
	VAESENCLAST Y8, Y1, Y1 \
	VAESENCLAST Y8, Y2, Y2 \
	VAESENCLAST Y8, Y3, Y3 \
	VAESENCLAST Y8, Y4, Y4 \
	VAESENCLAST Y8, Y5, Y5 \
	VAESENCLAST Y8, Y6, Y6 \
	VAESENCLAST Y8, Y7, Y7

// XOR adds what is at P to the key stream, and stores it.
#define XOR(P) \
	VPXOR 0(P), Y0, Y0   \
	VPXOR 32(P), Y1, Y1  \
	VPXOR 64(P), Y2, Y2  \
	VPXOR 96(P), Y3, Y3  \
	VPXOR 128(P), Y4, Y4 \
	VPXOR 160(P), Y5, Y5 \
	VPXOR 192(P), Y6, Y6 \
	VPXOR 224(P), Y7, Y7 \
	VMOVDQU Y0, 0(DI)    \
	VMOVDQU Y1, 32(DI)   \
	VMOVDQU Y2, 64(DI)   \
	VMOVDQU Y3, 96(DI)   \
	VMOVDQU Y4, 128(DI)  \
	VMOVDQU Y5, 160(DI)  \
	VMOVDQU Y6, 192(DI)  \
	VMOVDQU Y7, 224(DI)

// LOAD takes two blocks of the ciphertext.
#define LOAD(AT) \
	VMOVDQU AT(SI), Y13   \
	VPSHUFB Y15, Y13, Y13

// MIDDLE adds up the halves of two blocks, Y12, and of their powers, Y8, whose product has all four in it (Karatsuba's).
// The three multiplications of two blocks stand together, as each has the processor decode nothing else meanwhile.
#define MIDDLE(AT) \
	VPSHUFD $0x4e, Y13, Y12    \
	VPXOR   Y13, Y12, Y12      \
	VPSHUFD $0x4e, AT(DX), Y8  \
	VPXOR   AT(DX), Y8, Y8

// FIRST sets the low, the high and the middle halves to the products of two blocks with their powers, ADD adds those.
#define FIRST(AT) \
	MIDDLE(AT)                           \
	VPCLMULQDQ $0x00, Y8, Y12, Y11       \
	VPCLMULQDQ $0x00, AT(DX), Y13, Y9    \
	VPCLMULQDQ $0x11, AT(DX), Y13, Y10

#define ADD(AT) \
	MIDDLE(AT)                           \
	VPCLMULQDQ $0x00, Y8, Y12, Y12       \
	VPCLMULQDQ $0x00, AT(DX), Y13, Y8    \
	VPCLMULQDQ $0x11, AT(DX), Y13, Y13   \
	VPXOR Y8, Y9, Y9                     \
	VPXOR Y13, Y10, Y10                  \
	VPXOR Y12, Y11, Y11

// FOLD adds up the two lanes of Y.
#define FOLD(Y, X) \
	VEXTRACTI128 $1, Y, X12 \
	VPXOR X12, X, X

// func crypt256(keys *[15][16]byte, rounds int, powers *[16]element, counter *[16]byte, sum *element, dst, src *byte, n int)
//
// As crypt512. There are no registers for the round keys, which are loaded each time, nor for the sum.
TEXT ·crypt256(SB), NOSPLIT, $0-64
	MOVQ keys+0(FP), BX
	MOVQ rounds+8(FP), AX
	MOVQ powers+16(FP), DX
	MOVQ counter+24(FP), R8
	MOVQ sum+32(FP), R9
	MOVQ dst+40(FP), DI
	MOVQ src+48(FP), SI
	MOVQ n+56(FP), CX
	COUNTERS

sixteen:
	EIGHT
	ROUND(1)
	LOAD(32)
	FIRST(32)
	ROUND(2)
	LOAD(64)
	ADD(64)
	ROUND(3)
	LOAD(96)
	ADD(96)
	ROUND(4)
	LOAD(128)
	ADD(128)
	ROUND(5)
	LOAD(160)
	ADD(160)
	ROUND(6)
	LOAD(192)
	ADD(192)
	ROUND(7)
	LOAD(224)
	ADD(224)
	ROUND(8)
	LOAD(0)
	VMOVDQU (R9), X12
	VPXOR Y12, Y13, Y13
	ADD(0)
	ROUND(9)
	VPXOR Y9, Y11, Y11
	VPXOR Y10, Y11, Y11
	VPSLLDQ $8, Y11, Y12
	VPSRLDQ $8, Y11, Y11
	VPXOR Y12, Y9, Y9
	VPXOR Y11, Y10, Y10
	FOLD(Y9, X9)
	FOLD(Y10, X10)
	VMOVDQU ·poly(SB), X13
	REDUCE(X9, X10, X12, X13)
	VPXOR X9, X10, X10
	VMOVDQU X10, (R9)
	CMPQ AX, $10
	JEQ  last
	ROUNDS256

last:
	LAST
	XOR(SI)
	ADDQ $256, SI
	ADDQ $256, DI
	DECQ CX
	JNZ  sixteen

	VPSHUFB X15, X14, X14
	VMOVDQU X14, (R8)
	VZEROUPPER
	RET

// func stream256(keys *[15][16]byte, rounds int, counter *[16]byte, piece *[256]byte)
TEXT ·stream256(SB), NOSPLIT, $0-32
	MOVQ keys+0(FP), BX
	MOVQ rounds+8(FP), AX
	MOVQ counter+16(FP), R8
	MOVQ piece+24(FP), DI
	COUNTERS
	EIGHT
	ROUND(1)
	ROUND(2)
	ROUND(3)
	ROUND(4)
	ROUND(5)
	ROUND(6)
	ROUND(7)
	ROUND(8)
	ROUND(9)
	CMPQ AX, $10
	JEQ  last
	ROUNDS256

last:
	LAST
	XOR(DI)
	VZEROUPPER
	RET
