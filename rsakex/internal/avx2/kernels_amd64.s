// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"

// Four almost Montgomery multiplications side by side, a number in each lane of 64 bits: a vector is one digit of all
// four. Digits are signed, from -2^28 to 2^28-1, so that a column can be summed without a carry: of 36 products of two
// digits and 37 of a quotient, which is less than 2^29, and a digit, the sum is less than 2^63 either way.
//
// Four columns of the product are under work at a time, the lowest first. A column is kept 2^63 greater than it is,
// so that a carry may be shifted out of it as of one that is not signed, and is 2^34 too great then.
//
//	DI result, AX the moduli, R8 the quotients, R9 the group of four columns, R10 what it is in bytes
//	SI and BX, R11 and R12 the digits at hand, CX loops left
//	Y0-Y3 the columns; Y4-Y10 digits; Y11-Y14 products; Y15 the carry

DATA mask<>+0(SB)/8, $0x1fffffff
DATA mask<>+8(SB)/8, $0x1fffffff
DATA mask<>+16(SB)/8, $0x1fffffff
DATA mask<>+24(SB)/8, $0x1fffffff
GLOBL mask<>(SB), RODATA|NOPTR, $32

// half is half a digit, for one that is to be signed: 2^28.
DATA half<>+0(SB)/8, $0x10000000
DATA half<>+8(SB)/8, $0x10000000
DATA half<>+16(SB)/8, $0x10000000
DATA half<>+24(SB)/8, $0x10000000
GLOBL half<>(SB), RODATA|NOPTR, $32

// none is a carry of nothing: 2^34.
DATA none<>(SB)/8, $0x400000000
GLOBL none<>(SB), RODATA|NOPTR, $8

// lower is what a column of the lower half begins with, 2^63 - 2^34, upper one of the upper half, that and 2^28: a digit
// is rounded to there.
DATA lower<>(SB)/8, $0x7ffffffc00000000
GLOBL lower<>(SB), RODATA|NOPTR, $8
DATA upper<>(SB)/8, $0x7ffffffc10000000
GLOBL upper<>(SB), RODATA|NOPTR, $8

// halfLower and halfUpper are half of these, for columns that will be doubled.
DATA halfLower<>(SB)/8, $0x3ffffffe00000000
GLOBL halfLower<>(SB), RODATA|NOPTR, $8
DATA halfUpper<>(SB)/8, $0x3ffffffe08000000
GLOBL halfUpper<>(SB), RODATA|NOPTR, $8

// TERM adds a product to a column.
#define TERM(A, B, COLUMN) \
	VPMULDQ A, B, Y12 \
	VPADDQ  Y12, COLUMN, COLUMN

// TERMS adds a product to each column: of Y4 and four digits. The multiplications go first, which takes 3 % less time than
// TERM by TERM.
#define TERMS(B0, B1, B2, B3) \
	VPMULDQ B0, Y4, Y11 \
	VPMULDQ B1, Y4, Y12 \
	VPMULDQ B2, Y4, Y13 \
	VPMULDQ B3, Y4, Y14 \
	VPADDQ  Y11, Y0, Y0 \
	VPADDQ  Y12, Y1, Y1 \
	VPADDQ  Y13, Y2, Y2 \
	VPADDQ  Y14, Y3, Y3

// FOUR adds four products to each column: digits A[0] to A[3] by B[0] to B[-3], and so on up to B[3] to B[0].
#define FOUR(A, B) \
	VMOVDQU -64(B), Y5  \
	VMOVDQU -32(B), Y6  \
	VMOVDQU (B), Y7     \
	VMOVDQU 32(B), Y8   \
	VMOVDQU 64(B), Y9   \
	VMOVDQU (A), Y4     \
	TERMS(Y7, Y8, Y9, 96(B))  \
	VMOVDQU 32(A), Y4   \
	TERMS(Y6, Y7, Y8, Y9)     \
	VMOVDQU 64(A), Y4   \
	TERMS(Y5, Y6, Y7, Y8)     \
	VMOVDQU 96(A), Y4   \
	TERMS(-96(B), Y5, Y6, Y7) \
	ADDQ $128, A        \
	SUBQ $128, B

// TWO adds two products to each column, of A[0] and A[1].
#define TWO(A, B) \
	VMOVDQU (B), Y6   \
	VMOVDQU 32(B), Y7 \
	VMOVDQU 64(B), Y8 \
	VMOVDQU (A), Y4   \
	TERMS(Y6, Y7, Y8, 96(B))  \
	VMOVDQU 32(A), Y4 \
	TERMS(-32(B), Y6, Y7, Y8) \
	ADDQ $64, A       \
	SUBQ $64, B

// FIRST adds the products that are there in the first columns alone, of the digits A[0] to A[2] and the last ones, of
// B, in a group of the upper half.
#define FIRST(A, B) \
	VMOVDQU 1120(B), Y7 \
	VMOVDQU 1088(B), Y6 \
	VMOVDQU (A), Y4     \
	TERM(Y7, Y4, Y0)    \
	VMOVDQU 32(A), Y4   \
	TERM(Y6, Y4, Y0)    \
	TERM(Y7, Y4, Y1)    \
	VMOVDQU 64(A), Y4   \
	TERM(1056(B), Y4, Y0) \
	TERM(Y6, Y4, Y1)    \
	TERM(Y7, Y4, Y2)

// LAST adds the products that are there in the last columns alone, of A[0] to A[3] and the first ones, of B, in a group
// of the lower half.
#define LAST(A, B) \
	VMOVDQU (B), Y5     \
	VMOVDQU 32(B), Y6   \
	VMOVDQU 64(B), Y7   \
	VMOVDQU (A), Y4     \
	TERMS(Y5, Y6, Y7, 96(B)) \
	VMOVDQU 32(A), Y4   \
	TERM(Y5, Y4, Y1)    \
	TERM(Y6, Y4, Y2)    \
	TERM(Y7, Y4, Y3)    \
	VMOVDQU 64(A), Y4   \
	TERM(Y5, Y4, Y2)    \
	TERM(Y6, Y4, Y3)    \
	VMOVDQU 96(A), Y4   \
	TERM(Y5, Y4, Y3)

// BEGIN sets the columns to what they begin with.
#define BEGIN(FROM) \
	VPBROADCASTQ FROM, Y0 \
	VMOVDQU Y0, Y1   \
	VMOVDQU Y0, Y2   \
	VMOVDQU Y0, Y3

// CARRY takes what stands above a digit to the next column.
#define CARRY(COLUMN, TO) \
	VPSRLQ $29, COLUMN, Y12 \
	VPADDQ Y12, TO, TO

// QUOTIENT is by how many shifted moduli the column becomes a multiple of 2^29: what it is in digits.
#define QUOTIENT(AT, COLUMN, Q) \
	VPAND   mask<>(SB), COLUMN, Q \
	VMOVDQU Q, (AT+32)(R8)(R10*1)

// REDUCED ends a group of the lower half, whose digits become zero.
#define REDUCED \
	VMOVDQU (R8)(R10*1), Y4 \
	VMOVDQU (AX), Y8      \
	VMOVDQU 32(AX), Y9    \
	VMOVDQU 64(AX), Y10   \
	VPADDQ Y15, Y0, Y0    \
	TERM(Y8, Y4, Y0)      \
	QUOTIENT(0, Y0, Y5)   \
	TERM(Y9, Y4, Y1)      \
	CARRY(Y0, Y1)         \
	TERM(Y8, Y5, Y1)      \
	QUOTIENT(32, Y1, Y6)  \
	TERM(Y10, Y4, Y2)     \
	TERM(Y9, Y5, Y2)      \
	CARRY(Y1, Y2)         \
	TERM(Y8, Y6, Y2)      \
	QUOTIENT(64, Y2, Y7)  \
	TERM(96(AX), Y4, Y3)  \
	TERM(Y10, Y5, Y3)     \
	TERM(Y9, Y6, Y3)      \
	CARRY(Y2, Y3)         \
	TERM(Y8, Y7, Y3)      \
	QUOTIENT(96, Y3, Y4)  \
	VPSRLQ $29, Y3, Y15

// HALFWAY does the last column of the lower half once more, with the modulus itself.
#define HALFWAY \
	VPMULDQ 2336(AX), Y3, Y4 \
	VPAND   mask<>(SB), Y4, Y4 \
	VMOVDQU Y4, 1152(R8)     \
	TERM(1152(AX), Y4, Y3)   \
	VPSRLQ $29, Y3, Y15

// ROW adds the products of the last quotient.
#define ROW \
	VMOVDQU 1152(R8), Y4 \
	TERMS(32(AX)(R10*1), 64(AX)(R10*1), 96(AX)(R10*1), 128(AX)(R10*1))

// DIGIT stores a digit of the result, and DONE a group of the upper half.
#define DIGIT(AT, COLUMN) \
	VPAND   mask<>(SB), COLUMN, Y12 \
	VPSUBQ  half<>(SB), Y12, Y12    \
	VMOVDQU Y12, (AT-1152)(DI)(R10*1)

#define DONE \
	VPADDQ Y15, Y0, Y0  \
	DIGIT(0, Y0)        \
	CARRY(Y0, Y1)       \
	DIGIT(32, Y1)       \
	CARRY(Y1, Y2)       \
	DIGIT(64, Y2)       \
	CARRY(Y2, Y3)       \
	DIGIT(96, Y3)       \
	VPSRLQ $29, Y3, Y15

// func mul4(out, a, b *lanes, m *moduli, q *quotients)
TEXT ·mul4(SB), NOSPLIT, $0-40
	MOVQ out+0(FP), DI
	MOVQ a+8(FP), R13
	MOVQ b+16(FP), DX
	MOVQ m+24(FP), AX
	MOVQ q+32(FP), R8
	VPBROADCASTQ none<>(SB), Y15
	XORQ R9, R9
	XORQ R10, R10

low:
	BEGIN(lower<>(SB))
	MOVQ R13, SI
	LEAQ (DX)(R10*1), BX
	MOVQ R8, R11
	LEAQ (AX)(R10*1), R12
	MOVQ R9, CX
	TESTQ CX, CX
	JZ   lowest

lows:
	FOUR(SI, BX)
	FOUR(R11, R12)
	DECQ CX
	JNZ  lows

lowest:
	LAST(SI, BX)
	REDUCED
	ADDQ $128, R10
	INCQ R9
	CMPQ R9, $9
	JNE  low
	HALFWAY

high:
	BEGIN(upper<>(SB))
	LEAQ -1120(R13)(R10*1), SI
	FIRST(SI, DX)
	LEAQ -1120(R8)(R10*1), R11
	FIRST(R11, AX)
	ROW
	ADDQ $96, SI
	LEAQ 1024(DX), BX
	ADDQ $96, R11
	LEAQ 1024(AX), R12
	MOVQ $17, CX
	SUBQ R9, CX
	JZ   highest

highs:
	FOUR(SI, BX)
	FOUR(R11, R12)
	DECQ CX
	JNZ  highs

highest:
	DONE
	ADDQ $128, R10
	INCQ R9
	CMPQ R9, $18
	JNE  high

	VZEROUPPER
	RET

// ONCE adds the products of the digits in the middle, A[0] to A[3], of which each counts twice, TWICE doubles the columns, and
// SQUARES adds the squares.
#define ONCE(A) \
	VMOVDQU (A), Y4     \
	VMOVDQU 32(A), Y5   \
	VMOVDQU 64(A), Y6   \
	TERM(Y5, Y4, Y1)    \
	TERM(Y6, Y4, Y2)    \
	TERM(96(A), Y4, Y3) \
	TERM(Y6, Y5, Y3)

#define TWICE \
	VPADDQ Y0, Y0, Y0 \
	VPADDQ Y1, Y1, Y1 \
	VPADDQ Y2, Y2, Y2 \
	VPADDQ Y3, Y3, Y3

#define SQUARES \
	TERM(Y4, Y4, Y0) \
	TERM(Y5, Y5, Y2)

// func sqr4(x *lanes, m *moduli, q *quotients, times int)
//
//	R13 the digits in the middle, DX squarings left
TEXT ·sqr4(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), DI
	MOVQ m+8(FP), AX
	MOVQ q+16(FP), R8
	MOVQ times+24(FP), DX

square:
	VPBROADCASTQ none<>(SB), Y15
	XORQ R9, R9
	XORQ R10, R10
	MOVQ DI, R13

low:
	BEGIN(halfLower<>(SB))
	MOVQ DI, SI
	LEAQ (DI)(R10*1), BX
	MOVQ R9, CX
	TESTQ CX, CX
	JZ   lowest

lows:
	TWO(SI, BX)
	DECQ CX
	JNZ  lows

lowest:
	ONCE(R13)
	TWICE
	SQUARES
	MOVQ R8, R11
	LEAQ (AX)(R10*1), R12
	MOVQ R9, CX
	TESTQ CX, CX
	JZ   quotients

moduli:
	FOUR(R11, R12)
	DECQ CX
	JNZ  moduli

quotients:
	REDUCED
	ADDQ $64, R13
	ADDQ $128, R10
	INCQ R9
	CMPQ R9, $9
	JNE  low
	HALFWAY

high:
	BEGIN(halfUpper<>(SB))
	LEAQ -1120(DI)(R10*1), SI
	FIRST(SI, DI)
	ADDQ $96, SI
	LEAQ 1024(DI), BX
	MOVQ $16, CX
	SUBQ R9, CX
	JZ   middle

highs:
	TWO(SI, BX)
	DECQ CX
	JNZ  highs

middle:
	ONCE(R13)
	TWICE
	SQUARES
	LEAQ -1120(R8)(R10*1), R11
	FIRST(R11, AX)
	ROW
	ADDQ $96, R11
	LEAQ 1024(AX), R12
	MOVQ $17, CX
	SUBQ R9, CX

highModuli:
	FOUR(R11, R12)
	DECQ CX
	JNZ  highModuli

	DONE
	ADDQ $64, R13
	ADDQ $128, R10
	INCQ R9
	CMPQ R9, $17
	JNE  high

	// The last group, of the digits 33 to 35.
	BEGIN(halfUpper<>(SB))
	VMOVDQU 1088(DI), Y4
	VMOVDQU 1120(DI), Y5
	VMOVDQU 1056(DI), Y6
	TERM(Y5, Y6, Y0)
	TERM(Y5, Y4, Y1)
	TWICE
	SQUARES
	LEAQ -1120(R8)(R10*1), R11
	FIRST(R11, AX)
	ROW
	DONE
	DECQ DX
	JNZ  square
	VZEROUPPER
	RET

// PAIR picks one of two entries by the lowest bit of the exponents, QUAD one of four by the two lowest, EIGHT one of eight.
#define PAIR(AT, Y) \
	VMOVDQU   AT+0(BX), Y           \
	VPBLENDVB Y12, AT+32(BX), Y, Y

#define QUAD(AT, Y, TEMP) \
	PAIR(AT, Y)         \
	PAIR(AT+64, TEMP)   \
	VPBLENDVB Y13, TEMP, Y, Y

#define EIGHT(AT, Y, TEMP1, TEMP2) \
	QUAD(AT, Y, TEMP1)          \
	QUAD(AT+128, TEMP1, TEMP2)  \
	VPBLENDVB Y14, TEMP1, Y, Y

// func pick4(out *lanes, table *powers, which *[4]vector)
//
// Every entry is read, whatever the bits.
TEXT ·pick4(SB), NOSPLIT, $0-24
	MOVQ out+0(FP), DI
	MOVQ table+8(FP), BX
	MOVQ which+16(FP), SI
	VMOVDQU 0(SI), Y12
	VMOVDQU 32(SI), Y13
	VMOVDQU 64(SI), Y14
	VMOVDQU 96(SI), Y15
	MOVQ $36, CX
	PCALIGN $64 // it takes half as long again where the loop begins elsewhere

digit:
	EIGHT(0, Y0, Y1, Y2)
	EIGHT(256, Y1, Y2, Y3)
	VPBLENDVB Y15, Y1, Y0, Y0
	VMOVDQU Y0, (DI)
	ADDQ $512, BX
	ADDQ $32, DI
	DECQ CX
	JNZ  digit
	VZEROUPPER
	RET

// func wipe()
TEXT ·wipe(SB), NOSPLIT, $0-0
	VZEROALL
	RET
