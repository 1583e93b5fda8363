// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "go_asm.h"
#include "textflag.h"

// Four almost Montgomery multiplications side by side, a number in each lane of 64 bits: a vector is one digit of all
// four, of 52 bits, as a floating-point number. The product of two is 104 bits long. A multiplication with an addition (FMA)
// of 2^104, rounded towards zero, leaves the upper half of it in the lowest 52 bits of what comes out, exactly, and one with
// an addition of 2^52 less this half leaves the lower. Both are summed as integers: what is constant above those bits, the
// columns are less at the beginning (constants).
//
// Columns are done four at a time, the lowest first. They become the digits of a quotient, by which so many shifted moduli
// are added to the columns above, and what they were falls away; see moduli. The last four, of the lower half, are multiplied by
// k0 instead, and so many moduli are added, which keeps the result small.
//
//	DX the number that is multiplied by, R8 the sums, R9 four digits of the other, or where the result goes
//	R10 the columns that these begin at, R11 the moduli, R12 the constants
//	BX digits and SI columns at hand, AX what is at hand beside, CX loops left; R13 blocks left; DI squarings left
//	Y0-Y3 four digits, the rows; Y4-Y7 four columns; Y8 a digit; Y9 2^104, Y10 2^104 + 2^52; Y11-Y15 products and carries

// BEGIN has numbers rounded towards zero, END as before (MXCSR, Intel SDM Volume 1, Section 10.2.3). All exceptions are masked
// meanwhile, and all flags are set: else a product would be the first that sets one.
#define BEGIN \
	STMXCSR before-8(SP)  \
	MOVL    $0x7fbf, chopped-4(SP) \
	LDMXCSR chopped-4(SP) \
	VMOVUPD constants_upper(R12), Y9 \
	VMOVUPD constants_lower(R12), Y10

#define END \
	LDMXCSR before-8(SP) \
	VZEROUPPER

// PRODUCT adds the halves of a product to two columns.
#define PRODUCT(A, B, LOWER, UPPER) \
	VMOVAPD Y9, Y11        \
	VFMADD231PD A, B, Y11  \
	VPADDQ  Y11, UPPER, UPPER \
	VSUBPD  Y11, Y10, Y11  \
	VFMADD231PD A, B, Y11  \
	VPADDQ  Y11, LOWER, LOWER

// STEP adds the products of the rows and a digit. No more will come to the first column then, and the next four are at hand.
#define STEP(AT) \
	VMOVUPD AT(BX), Y8   \
	VMOVAPD Y9, Y11      \
	VMOVAPD Y9, Y12      \
	VMOVAPD Y9, Y13      \
	VMOVAPD Y9, Y14      \
	VFMADD231PD Y0, Y8, Y11 \
	VFMADD231PD Y1, Y8, Y12 \
	VFMADD231PD Y2, Y8, Y13 \
	VFMADD231PD Y3, Y8, Y14 \
	VPADDQ  Y11, Y5, Y5  \
	VPADDQ  Y12, Y6, Y6  \
	VPADDQ  Y13, Y7, Y7  \
	VSUBPD  Y11, Y10, Y11 \
	VSUBPD  Y12, Y10, Y12 \
	VSUBPD  Y13, Y10, Y13 \
	VSUBPD  Y14, Y10, Y15 \
	VFMADD231PD Y0, Y8, Y11 \
	VFMADD231PD Y1, Y8, Y12 \
	VFMADD231PD Y2, Y8, Y13 \
	VFMADD231PD Y3, Y8, Y15 \
	VPADDQ  Y11, Y4, Y4  \
	VMOVDQU Y4, AT(SI)   \
	VPADDQ  Y12, Y5, Y4  \
	VPADDQ  Y13, Y6, Y5  \
	VPADDQ  Y15, Y7, Y6  \
	VPADDQ  (AT+128)(SI), Y14, Y7

#define STEPS \
	STEP(0)  \
	STEP(32) \
	STEP(64) \
	STEP(96) \
	ADDQ $128, BX \
	ADDQ $128, SI

#define ROWS(AT, FROM) \
	VMOVUPD (AT+0)(FROM), Y0  \
	VMOVUPD (AT+32)(FROM), Y1 \
	VMOVUPD (AT+64)(FROM), Y2 \
	VMOVUPD (AT+96)(FROM), Y3

#define COLUMNS \
	VMOVDQU 0(SI), Y4  \
	VMOVDQU 32(SI), Y5 \
	VMOVDQU 64(SI), Y6 \
	VMOVDQU 96(SI), Y7

#define KEEP \
	VMOVDQU Y4, 0(SI)  \
	VMOVDQU Y5, 32(SI) \
	VMOVDQU Y6, 64(SI) \
	VMOVDQU Y7, 96(SI)

// DIGIT makes a digit of a column, without what is for the next.
#define DIGIT(COLUMN) \
	VPAND  constants_mask(R12), COLUMN, COLUMN \
	VPOR   constants_one(R12), COLUMN, COLUMN  \
	VSUBPD constants_one(R12), COLUMN, COLUMN

#define QUOTIENT(AT) \
	VPSRLQ  $52, Y12, Y11 \
	DIGIT(Y12)            \
	VMOVUPD Y12, (sums_quotients+AT)(R8)

// CARRIED makes quotients of the four columns from R10 on, which are done. The first keeps what was carried to it: after the last
// block finish goes on from there.
#define CARRIED \
	VMOVDQU sums_carry(R8), Y11 \
	VPADDQ  0(R10), Y11, Y12 \
	VMOVDQU Y12, 0(R10)      \
	QUOTIENT(0)              \
	VPADDQ  32(R10), Y11, Y12 \
	QUOTIENT(32)             \
	VPADDQ  64(R10), Y11, Y12 \
	QUOTIENT(64)             \
	VPADDQ  96(R10), Y11, Y12 \
	QUOTIENT(96)             \
	VMOVDQU Y11, sums_carry(R8)

// TIMESK0 multiplies the quotients by k0, modulo 2^208: what comes to Y15 is above that.
#define TIMESK0 \
	ROWS(sums_quotients, R8)  \
	LEAQ constants_forK0(R12), AX \
	VMOVDQU 0(AX), Y4         \
	VMOVDQU 32(AX), Y5        \
	VMOVDQU 64(AX), Y6        \
	VMOVDQU 96(AX), Y7        \
	VMOVUPD (moduli_k0+0)(R11), Y8   \
	VMOVUPD (moduli_k0+32)(R11), Y12 \
	VMOVUPD (moduli_k0+64)(R11), Y13 \
	VMOVUPD (moduli_k0+96)(R11), Y14 \
	PRODUCT(Y0, Y8, Y4, Y5)   \
	PRODUCT(Y0, Y12, Y5, Y6)  \
	PRODUCT(Y1, Y8, Y5, Y6)   \
	PRODUCT(Y0, Y13, Y6, Y7)  \
	PRODUCT(Y1, Y12, Y6, Y7)  \
	PRODUCT(Y2, Y8, Y6, Y7)   \
	PRODUCT(Y0, Y14, Y7, Y15) \
	PRODUCT(Y1, Y13, Y7, Y15) \
	PRODUCT(Y2, Y12, Y7, Y15) \
	PRODUCT(Y3, Y8, Y7, Y15)  \
	VMOVDQU Y4, Y12           \
	QUOTIENT(0)               \
	VPADDQ  Y11, Y5, Y12      \
	QUOTIENT(32)              \
	VPADDQ  Y11, Y6, Y12      \
	QUOTIENT(64)              \
	VPADDQ  Y11, Y7, Y12      \
	QUOTIENT(96)

// fresh sets the columns to what stands at BX.
TEXT fresh<>(SB), NOSPLIT, $0-0
	MOVQ R8, SI
	MOVQ $10, CX

four:
	VMOVDQU 0(BX), Y0
	VMOVDQU 32(BX), Y1
	VMOVDQU 64(BX), Y2
	VMOVDQU 96(BX), Y3
	VMOVDQU Y0, 0(SI)
	VMOVDQU Y1, 32(SI)
	VMOVDQU Y2, 64(SI)
	VMOVDQU Y3, 96(SI)
	ADDQ $128, BX
	ADDQ $128, SI
	DECQ CX
	JNZ  four
	VPXOR   Y0, Y0, Y0
	VMOVDQU Y0, sums_carry(R8)
	RET

// reduce adds shifted moduli by the quotients, to the columns from R10 on, and makes the next quotients of the first four: in the
// middle, as that takes its time. In the last block these are multiplied by k0.
TEXT reduce<>(SB), NOSPLIT, $0-0
	ROWS(sums_quotients, R8)
	MOVQ R10, SI
	COLUMNS
	LEAQ moduli_shifted(R11), BX
	STEPS
	CARRIED
	MOVQ $4, CX
	CMPQ R13, $1
	JNE  others
	KEEP
	VMOVUPD Y0, (sums_kept+0)(R8)
	VMOVUPD Y1, (sums_kept+32)(R8)
	VMOVUPD Y2, (sums_kept+64)(R8)
	VMOVUPD Y3, (sums_kept+96)(R8)
	TIMESK0
	ROWS(sums_kept, R8)
	COLUMNS

others:
	STEPS
	DECQ CX
	JNZ  others
	KEEP
	RET

// ZERO ends a column of the lower half, which is a multiple of 2^52, RESULT one of the upper.
#define ZERO(AT) \
	VPADDQ (512+AT)(R8), Y11, Y11 \
	VPADDQ (constants_forLast+AT)(R12), Y11, Y11 \
	VPSRLQ $52, Y11, Y11

#define RESULT(AT) \
	VPADDQ  AT(SI), Y11, Y12 \
	VPSRLQ  $52, Y12, Y11    \
	DIGIT(Y12)               \
	VMOVUPD Y12, AT(BX)

// finish adds moduli by the last quotients, to the columns from 16 on, and sets what is at R9 to the upper half.
TEXT finish<>(SB), NOSPLIT, $0-0
	ROWS(sums_quotients, R8)
	LEAQ 512(R8), SI
	COLUMNS
	LEAQ moduli_m(R11), BX
	MOVQ $5, CX

last:
	STEPS
	DECQ CX
	JNZ  last
	KEEP
	VPXOR Y11, Y11, Y11
	ZERO(0)
	ZERO(32)
	ZERO(64)
	ZERO(96)
	LEAQ 640(R8), SI
	MOVQ R9, BX
	MOVQ $5, CX

result:
	RESULT(0)
	RESULT(32)
	RESULT(64)
	RESULT(96)
	ADDQ $128, SI
	ADDQ $128, BX
	DECQ CX
	JNZ  result
	RET

// func mul4(out, a, b *lanes, m *moduli, s *sums, c *constants)
TEXT ·mul4(SB), NOSPLIT, $8-48
	MOVQ a+8(FP), R9
	MOVQ b+16(FP), DX
	MOVQ m+24(FP), R11
	MOVQ s+32(FP), R8
	MOVQ c+40(FP), R12
	BEGIN
	LEAQ constants_forProduct(R12), BX
	CALL fresh<>(SB)
	MOVQ R8, R10
	MOVQ $5, R13

block:
	ROWS(0, R9)
	MOVQ R10, SI
	COLUMNS
	MOVQ DX, BX
	MOVQ $5, CX

product:
	STEPS
	DECQ CX
	JNZ  product
	KEEP
	CMPQ R13, $5
	JNE  quotients
	CARRIED
	JMP  next

quotients:
	CALL reduce<>(SB)

next:
	ADDQ $128, R9
	ADDQ $128, R10
	DECQ R13
	JNZ  block
	MOVQ out+0(FP), R9
	CALL finish<>(SB)
	END
	RET

// SQUARE doubles two columns, and adds the square of a digit.
#define SQUARE(AT) \
	VMOVUPD AT(BX), Y8             \
	VMOVDQU (2*AT)(SI), Y12        \
	VMOVDQU (2*AT+32)(SI), Y13     \
	VPADDQ  Y12, Y12, Y12          \
	VPADDQ  Y13, Y13, Y13          \
	PRODUCT(Y8, Y8, Y12, Y13)      \
	VMOVDQU Y12, (2*AT)(SI)        \
	VMOVDQU Y13, (2*AT+32)(SI)

// func sqr4(x *lanes, m *moduli, s *sums, c *constants, times int)
TEXT ·sqr4(SB), NOSPLIT, $8-40
	MOVQ x+0(FP), DX
	MOVQ m+8(FP), R11
	MOVQ s+16(FP), R8
	MOVQ c+24(FP), R12
	MOVQ times+32(FP), DI
	BEGIN

again:
	LEAQ constants_forSquare(R12), BX
	CALL fresh<>(SB)

	// The products that count twice: of four digits among each other, and of them and those above.
	MOVQ DX, R9
	MOVQ R8, R10
	MOVQ $4, R13

block:
	ROWS(0, R9)
	VMOVDQU 32(R10), Y12
	VMOVDQU 64(R10), Y13
	VMOVDQU 96(R10), Y14
	LEAQ 128(R10), SI
	COLUMNS
	PRODUCT(Y0, Y1, Y12, Y13)
	PRODUCT(Y0, Y2, Y13, Y14)
	PRODUCT(Y0, Y3, Y14, Y4)
	PRODUCT(Y1, Y2, Y14, Y4)
	PRODUCT(Y1, Y3, Y4, Y5)
	PRODUCT(Y2, Y3, Y5, Y6)
	VMOVDQU Y12, 32(R10)
	VMOVDQU Y13, 64(R10)
	VMOVDQU Y14, 96(R10)
	LEAQ 128(R9), BX
	MOVQ R13, CX
	TESTQ CX, CX
	JZ   once

product:
	STEPS
	DECQ CX
	JNZ  product

once:
	KEEP
	ADDQ $128, R9
	ADDQ $256, R10
	DECQ R13
	JNS  block

	MOVQ DX, BX
	MOVQ R8, SI
	MOVQ $5, CX

squares:
	SQUARE(0)
	SQUARE(32)
	SQUARE(64)
	SQUARE(96)
	ADDQ $128, BX
	ADDQ $256, SI
	DECQ CX
	JNZ  squares

	MOVQ R8, R10
	CARRIED
	MOVQ $4, R13

quotients:
	ADDQ $128, R10
	CALL reduce<>(SB)
	DECQ R13
	JNZ  quotients
	MOVQ DX, R9
	CALL finish<>(SB)
	DECQ DI
	JNZ  again
	END
	RET

// MASKS has all ones in the lanes that ask for the entries from FIRST on.
#define MASKS(FIRST) \
	VMOVDQU  (SI), Y0 \
	VPCMPEQQ (constants_indices+32*(FIRST+0))(R12), Y0, Y8  \
	VPCMPEQQ (constants_indices+32*(FIRST+1))(R12), Y0, Y9  \
	VPCMPEQQ (constants_indices+32*(FIRST+2))(R12), Y0, Y10 \
	VPCMPEQQ (constants_indices+32*(FIRST+3))(R12), Y0, Y11 \
	VPCMPEQQ (constants_indices+32*(FIRST+4))(R12), Y0, Y12 \
	VPCMPEQQ (constants_indices+32*(FIRST+5))(R12), Y0, Y13 \
	VPCMPEQQ (constants_indices+32*(FIRST+6))(R12), Y0, Y14 \
	VPCMPEQQ (constants_indices+32*(FIRST+7))(R12), Y0, Y15

// EIGHT picks from the entries from AT on: Y0, or none.
#define EIGHT(AT) \
	VPAND (AT+0)(BX), Y8, Y0    \
	VPAND (AT+32)(BX), Y9, Y1   \
	VPAND (AT+64)(BX), Y10, Y2  \
	VPAND (AT+96)(BX), Y11, Y3  \
	VPAND (AT+128)(BX), Y12, Y4 \
	VPAND (AT+160)(BX), Y13, Y5 \
	VPAND (AT+192)(BX), Y14, Y6 \
	VPAND (AT+224)(BX), Y15, Y7 \
	VPOR  Y1, Y0, Y0 \
	VPOR  Y3, Y2, Y2 \
	VPOR  Y5, Y4, Y4 \
	VPOR  Y7, Y6, Y6 \
	VPOR  Y2, Y0, Y0 \
	VPOR  Y6, Y4, Y4 \
	VPOR  Y4, Y0, Y0

// func pick4(out *lanes, table *powers, which *integers, c *constants)
//
// Every entry is read, whichever is asked for.
TEXT ·pick4(SB), NOSPLIT, $0-32
	MOVQ table+8(FP), BX
	MOVQ which+16(FP), SI
	MOVQ c+24(FP), R12
	MASKS(0)
	MOVQ out+0(FP), DI
	MOVQ $20, CX
	PCALIGN $64

first:
	EIGHT(0)
	VMOVUPD Y0, (DI)
	ADDQ $512, BX
	ADDQ $32, DI
	DECQ CX
	JNZ  first

	MOVQ table+8(FP), BX
	MASKS(8)
	MOVQ out+0(FP), DI
	MOVQ $20, CX
	PCALIGN $64

second:
	EIGHT(256)
	VPOR (DI), Y0, Y0
	VMOVUPD Y0, (DI)
	ADDQ $512, BX
	ADDQ $32, DI
	DECQ CX
	JNZ  second
	VZEROUPPER
	RET

// func wipe()
TEXT ·wipe(SB), NOSPLIT, $0-0
	VZEROALL
	RET
