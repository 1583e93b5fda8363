// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"

// Two almost Montgomery multiplications side by side: while one waits for its next quotient, the other
// multiplies. A number is 20 digits of 52 bits, the lowest first, in five vectors of four. The lowest digit
// of each accumulator is kept in an ordinary register, since the quotient depends on it; in the vector its
// lane is of no account.
//
//	DI result, SI a, BX &b[i], CX steps left, AX the moduli, R8 their k0; the second number 160 bytes on
//	Y0-Y4, R9 and Y5-Y9, R12  the accumulators
//	Y16-Y20 and Y21-Y25       the moduli
//	Y10, Y11 b[i]; Y12, Y13 the quotients; Y14, Y15, Y26-Y28 scratch
//	R15, Y31 2^52-1; Y30 ones; Y29 zero

// DIGIT begins a step: it multiplies the lowest digits, and finds the quotient.
#define DIGIT(AT, K, ACC, YB, YQ) \
	VPBROADCASTQ AT(BX), YB       \
	MOVQ  AT(BX), DX              \
	MULXQ AT(SI), R10, R11        \
	ADDQ  R10, ACC                \
	ADCQ  $0, R11                 \
	MOVQ  ACC, DX                 \
	IMULQ K(R8), DX               \
	ANDQ  R15, DX                 \
	VPBROADCASTQ DX, YQ           \
	MULXQ AT(AX), R10, R13        \
	ADDQ  R10, ACC                \
	ADCQ  R13, R11                \
	SHRQ  $52, ACC                \
	SHLQ  $12, R11                \
	ORQ   R11, ACC

// LOW adds the low halves of the products.
#define LOW(AT, YB, YQ, A0, A1, A2, A3, A4, M0, M1, M2, M3, M4) \
	VPMADD52LUQ AT+0(SI), YB, A0   \
	VPMADD52LUQ AT+32(SI), YB, A1  \
	VPMADD52LUQ AT+64(SI), YB, A2  \
	VPMADD52LUQ AT+96(SI), YB, A3  \
	VPMADD52LUQ AT+128(SI), YB, A4 \
	VPMADD52LUQ M0, YQ, A0         \
	VPMADD52LUQ M1, YQ, A1         \
	VPMADD52LUQ M2, YQ, A2         \
	VPMADD52LUQ M3, YQ, A3         \
	VPMADD52LUQ M4, YQ, A4

// SHIFT divides by 2^52, and takes the new lowest digit over.
#define SHIFT(ACC, X0, A0, A1, A2, A3, A4) \
	VALIGNQ $1, A0, A1, A0  \
	VMOVQ   X0, R10         \
	VALIGNQ $1, A1, A2, A1  \
	VALIGNQ $1, A2, A3, A2  \
	VALIGNQ $1, A3, A4, A3  \
	VALIGNQ $1, A4, Y29, A4 \
	ADDQ    R10, ACC

// HIGH adds the high halves of the products.
#define HIGH(AT, YB, YQ, A0, A1, A2, A3, A4, M0, M1, M2, M3, M4) \
	VPMADD52HUQ AT+0(SI), YB, A0   \
	VPMADD52HUQ AT+32(SI), YB, A1  \
	VPMADD52HUQ AT+64(SI), YB, A2  \
	VPMADD52HUQ AT+96(SI), YB, A3  \
	VPMADD52HUQ AT+128(SI), YB, A4 \
	VPMADD52HUQ M0, YQ, A0         \
	VPMADD52HUQ M1, YQ, A1         \
	VPMADD52HUQ M2, YQ, A2         \
	VPMADD52HUQ M3, YQ, A3         \
	VPMADD52HUQ M4, YQ, A4

// CARRIES brings all digits under 2^52. After one addition of what stands above, a digit carries 1 at most:
// where it is too large, or where it is all ones and the one below carries. An addition of masks lets those
// carries run.
#define CARRIES(AT, A0, A1, A2, A3, A4) \
	VPSRLQ  $52, A0, Y10    \
	VPSRLQ  $52, A1, Y11    \
	VPSRLQ  $52, A2, Y12    \
	VPSRLQ  $52, A3, Y13    \
	VPSRLQ  $52, A4, Y14    \
	VALIGNQ $3, Y13, Y14, Y14 \
	VALIGNQ $3, Y12, Y13, Y13 \
	VALIGNQ $3, Y11, Y12, Y12 \
	VALIGNQ $3, Y10, Y11, Y11 \
	VALIGNQ $3, Y29, Y10, Y10 \
	VPANDQ  Y31, A0, A0     \
	VPANDQ  Y31, A1, A1     \
	VPANDQ  Y31, A2, A2     \
	VPANDQ  Y31, A3, A3     \
	VPANDQ  Y31, A4, A4     \
	VPADDQ  Y10, A0, A0     \
	VPADDQ  Y11, A1, A1     \
	VPADDQ  Y12, A2, A2     \
	VPADDQ  Y13, A3, A3     \
	VPADDQ  Y14, A4, A4     \
	MASK($6, R10, A0, A1, A2, A3, A4) \
	MASK($0, R11, A0, A1, A2, A3, A4) \
	LEAQ    (R11)(R10*2), R10 \
	XORQ    R11, R10        \
	ONE(AT+0, A0)           \
	SHRQ    $4, R10         \
	ONE(AT+32, A1)          \
	SHRQ    $4, R10         \
	ONE(AT+64, A2)          \
	SHRQ    $4, R10         \
	ONE(AT+96, A3)          \
	SHRQ    $4, R10         \
	ONE(AT+128, A4)

// MASK compares all digits with 2^52-1, a bit for each.
#define MASK(HOW, TO, A0, A1, A2, A3, A4) \
	VPCMPUQ HOW, Y31, A4, K1 \
	VPCMPUQ HOW, Y31, A3, K2 \
	VPCMPUQ HOW, Y31, A2, K3 \
	VPCMPUQ HOW, Y31, A1, K4 \
	VPCMPUQ HOW, Y31, A0, K5 \
	KMOVB   K1, TO          \
	SHLQ    $4, TO          \
	KMOVB   K2, R13         \
	ORQ     R13, TO         \
	SHLQ    $4, TO          \
	KMOVB   K3, R13         \
	ORQ     R13, TO         \
	SHLQ    $4, TO          \
	KMOVB   K4, R13         \
	ORQ     R13, TO         \
	SHLQ    $4, TO          \
	KMOVB   K5, R13         \
	ORQ     R13, TO

// ONE adds the last carries and stores a vector.
#define ONE(AT, A) \
	KMOVB   R10, K1        \
	VPADDQ  Y30, A, K1, A  \
	VPANDQ  Y31, A, A      \
	VMOVDQU64 A, AT(DI)

// func amm2(out, a, b, m *pair, k0 *[2]uint64)
TEXT ·amm2(SB), NOSPLIT, $0-40
	MOVQ out+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), BX
	MOVQ m+24(FP), AX
	MOVQ k0+32(FP), R8
	VMOVDQU64 0(AX), Y16
	VMOVDQU64 32(AX), Y17
	VMOVDQU64 64(AX), Y18
	VMOVDQU64 96(AX), Y19
	VMOVDQU64 128(AX), Y20
	VMOVDQU64 160(AX), Y21
	VMOVDQU64 192(AX), Y22
	VMOVDQU64 224(AX), Y23
	VMOVDQU64 256(AX), Y24
	VMOVDQU64 288(AX), Y25
	MOVQ $0xfffffffffffff, R15
	VPBROADCASTQ R15, Y31
	MOVQ $1, R10
	VPBROADCASTQ R10, Y30
	KMOVB R10, K6
	VPXORQ Y29, Y29, Y29
	VPXORQ Y0, Y0, Y0
	VPXORQ Y1, Y1, Y1
	VPXORQ Y2, Y2, Y2
	VPXORQ Y3, Y3, Y3
	VPXORQ Y4, Y4, Y4
	VPXORQ Y5, Y5, Y5
	VPXORQ Y6, Y6, Y6
	VPXORQ Y7, Y7, Y7
	VPXORQ Y8, Y8, Y8
	VPXORQ Y9, Y9, Y9
	XORQ R9, R9
	XORQ R12, R12
	MOVQ $20, CX

step:
	DIGIT(0, 0, R9, Y10, Y12)
	DIGIT(160, 8, R12, Y11, Y13)
	LOW(0, Y10, Y12, Y0, Y1, Y2, Y3, Y4, Y16, Y17, Y18, Y19, Y20)
	LOW(160, Y11, Y13, Y5, Y6, Y7, Y8, Y9, Y21, Y22, Y23, Y24, Y25)
	SHIFT(R9, X0, Y0, Y1, Y2, Y3, Y4)
	SHIFT(R12, X5, Y5, Y6, Y7, Y8, Y9)
	HIGH(0, Y10, Y12, Y0, Y1, Y2, Y3, Y4, Y16, Y17, Y18, Y19, Y20)
	HIGH(160, Y11, Y13, Y5, Y6, Y7, Y8, Y9, Y21, Y22, Y23, Y24, Y25)
	ADDQ $8, BX
	DECQ CX
	JNZ  step

	VPBROADCASTQ R9, K6, Y0
	VPBROADCASTQ R12, K6, Y5
	CARRIES(0, Y0, Y1, Y2, Y3, Y4)
	CARRIES(160, Y5, Y6, Y7, Y8, Y9)
	VZEROUPPER
	RET

// TAKE adds an entry of the table to what was taken, where the index fits. It is loaded whole: whether a load under a mask
// touches what the mask leaves out is up to the processor.
#define TAKE(AT, K, Y) \
	VMOVDQU64 AT(SI), Y13 \
	VPORQ     Y13, Y, K, Y

// func gather(out *pair, table *[32]pair, first, second uint64)
//
// Every entry is read, whatever the indices.
TEXT ·gather(SB), NOSPLIT, $0-32
	MOVQ out+0(FP), DI
	MOVQ table+8(FP), SI
	VPBROADCASTQ first+16(FP), Y10
	VPBROADCASTQ second+24(FP), Y11
	MOVQ $1, R10
	VPBROADCASTQ R10, Y30
	VPXORQ Y12, Y12, Y12
	VPXORQ Y0, Y0, Y0
	VPXORQ Y1, Y1, Y1
	VPXORQ Y2, Y2, Y2
	VPXORQ Y3, Y3, Y3
	VPXORQ Y4, Y4, Y4
	VPXORQ Y5, Y5, Y5
	VPXORQ Y6, Y6, Y6
	VPXORQ Y7, Y7, Y7
	VPXORQ Y8, Y8, Y8
	VPXORQ Y9, Y9, Y9
	MOVQ $32, CX

entry:
	VPCMPUQ $0, Y12, Y10, K1
	VPCMPUQ $0, Y12, Y11, K2
	TAKE(0, K1, Y0)
	TAKE(32, K1, Y1)
	TAKE(64, K1, Y2)
	TAKE(96, K1, Y3)
	TAKE(128, K1, Y4)
	TAKE(160, K2, Y5)
	TAKE(192, K2, Y6)
	TAKE(224, K2, Y7)
	TAKE(256, K2, Y8)
	TAKE(288, K2, Y9)
	VPADDQ Y30, Y12, Y12
	ADDQ $320, SI
	DECQ CX
	JNZ  entry

	VMOVDQU64 Y0, 0(DI)
	VMOVDQU64 Y1, 32(DI)
	VMOVDQU64 Y2, 64(DI)
	VMOVDQU64 Y3, 96(DI)
	VMOVDQU64 Y4, 128(DI)
	VMOVDQU64 Y5, 160(DI)
	VMOVDQU64 Y6, 192(DI)
	VMOVDQU64 Y7, 224(DI)
	VMOVDQU64 Y8, 256(DI)
	VMOVDQU64 Y9, 288(DI)
	VZEROUPPER
	RET

// func wipe()
TEXT ·wipe(SB), NOSPLIT, $0-0
	VPXORQ Z16, Z16, Z16
	VPXORQ Z17, Z17, Z17
	VPXORQ Z18, Z18, Z18
	VPXORQ Z19, Z19, Z19
	VPXORQ Z20, Z20, Z20
	VPXORQ Z21, Z21, Z21
	VPXORQ Z22, Z22, Z22
	VPXORQ Z23, Z23, Z23
	VPXORQ Z24, Z24, Z24
	VPXORQ Z25, Z25, Z25
	VPXORQ Z26, Z26, Z26
	VPXORQ Z27, Z27, Z27
	VPXORQ Z28, Z28, Z28
	VPXORQ Z29, Z29, Z29
	VPXORQ Z30, Z30, Z30
	VPXORQ Z31, Z31, Z31
	KXORW  K1, K1, K1
	KXORW  K2, K2, K2
	KXORW  K3, K3, K3
	KXORW  K4, K4, K4
	KXORW  K5, K5, K5
	KXORW  K6, K6, K6
	VZEROALL
	RET
