// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"

// Eight almost Montgomery multiplications side by side, a number in each lane of 64 bits: a vector is one digit
// of all eight. The columns of the product are summed as they come, and carried only where a quotient depends
// on it and at the end: a column gets 80 halves of less than 2^52 each and one carry, and stays below 2^59.
//
//	DI result, SI a, BX b[i], AX the moduli, CX rows left
//	Z0-Z20 the columns under work, the lowest first
//	Z21 scratch; Z22 b[i]; Z23 the quotients; Z24 -1/m modulo 2^52; Z25 2^52-1

// TIMES multiplies a digit, and adds the low halves to one column and the high halves to the next. These go
// first: the lower column waits for the product before, which has just been added to it.
#define TIMES(DIGIT, BY, LO, HI) \
	VMOVDQU64   DIGIT, Z21  \
	VPMADD52HUQ Z21, BY, HI \
	VPMADD52LUQ Z21, BY, LO

// QUOTIENT finds by how many moduli the lowest column becomes a multiple of 2^52.
#define QUOTIENT \
	VPXORQ      Z23, Z23, Z23 \
	VPMADD52LUQ Z24, Z0, Z23

// REDUCE adds that many, and divides by 2^52. The lowest column's digit becomes zero, and carries one unless it
// was zero already: adding 2^52-1 does as much as multiplying it out.
#define REDUCE \
	VPADDQ      Z25, Z0, Z0   \
	VPSRLQ      $52, Z0, Z0   \
	VPADDQ      Z0, Z1, Z1    \
	VPMADD52HUQ 0(AX), Z23, Z1 \
	TIMES(64(AX), Z23, Z1, Z2)     \
	TIMES(128(AX), Z23, Z2, Z3)    \
	TIMES(192(AX), Z23, Z3, Z4)    \
	TIMES(256(AX), Z23, Z4, Z5)    \
	TIMES(320(AX), Z23, Z5, Z6)    \
	TIMES(384(AX), Z23, Z6, Z7)    \
	TIMES(448(AX), Z23, Z7, Z8)    \
	TIMES(512(AX), Z23, Z8, Z9)    \
	TIMES(576(AX), Z23, Z9, Z10)   \
	TIMES(640(AX), Z23, Z10, Z11)  \
	TIMES(704(AX), Z23, Z11, Z12)  \
	TIMES(768(AX), Z23, Z12, Z13)  \
	TIMES(832(AX), Z23, Z13, Z14)  \
	TIMES(896(AX), Z23, Z14, Z15)  \
	TIMES(960(AX), Z23, Z15, Z16)  \
	TIMES(1024(AX), Z23, Z16, Z17) \
	TIMES(1088(AX), Z23, Z17, Z18) \
	TIMES(1152(AX), Z23, Z18, Z19) \
	TIMES(1216(AX), Z23, Z19, Z20) \
	VMOVDQA64 Z1, Z0    \
	VMOVDQA64 Z2, Z1    \
	VMOVDQA64 Z3, Z2    \
	VMOVDQA64 Z4, Z3    \
	VMOVDQA64 Z5, Z4    \
	VMOVDQA64 Z6, Z5    \
	VMOVDQA64 Z7, Z6    \
	VMOVDQA64 Z8, Z7    \
	VMOVDQA64 Z9, Z8    \
	VMOVDQA64 Z10, Z9   \
	VMOVDQA64 Z11, Z10  \
	VMOVDQA64 Z12, Z11  \
	VMOVDQA64 Z13, Z12  \
	VMOVDQA64 Z14, Z13  \
	VMOVDQA64 Z15, Z14  \
	VMOVDQA64 Z16, Z15  \
	VMOVDQA64 Z17, Z16  \
	VMOVDQA64 Z18, Z17  \
	VMOVDQA64 Z19, Z18  \
	VMOVDQA64 Z20, Z19

// ROW multiplies a by a digit of b, and reduces.
#define ROW \
	VPXORQ Z20, Z20, Z20            \
	TIMES(0(SI), Z22, Z0, Z1)       \
	QUOTIENT                        \
	TIMES(64(SI), Z22, Z1, Z2)      \
	TIMES(128(SI), Z22, Z2, Z3)     \
	TIMES(192(SI), Z22, Z3, Z4)     \
	TIMES(256(SI), Z22, Z4, Z5)     \
	TIMES(320(SI), Z22, Z5, Z6)     \
	TIMES(384(SI), Z22, Z6, Z7)     \
	TIMES(448(SI), Z22, Z7, Z8)     \
	TIMES(512(SI), Z22, Z8, Z9)     \
	TIMES(576(SI), Z22, Z9, Z10)    \
	TIMES(640(SI), Z22, Z10, Z11)   \
	TIMES(704(SI), Z22, Z11, Z12)   \
	TIMES(768(SI), Z22, Z12, Z13)   \
	TIMES(832(SI), Z22, Z13, Z14)   \
	TIMES(896(SI), Z22, Z14, Z15)   \
	TIMES(960(SI), Z22, Z15, Z16)   \
	TIMES(1024(SI), Z22, Z16, Z17)  \
	TIMES(1088(SI), Z22, Z17, Z18)  \
	TIMES(1152(SI), Z22, Z18, Z19)  \
	TIMES(1216(SI), Z22, Z19, Z20)  \
	REDUCE

// CARRY stores a digit, and takes what stands above it to the next column. It stays above the digit as well,
// since a multiplication reads the low 52 bits alone.
#define CARRY(AT, Z, NEXT) \
	VMOVDQU64 Z, AT(DI)     \
	VPSRLQ    $52, Z, Z21   \
	VPADDQ    Z21, NEXT, NEXT

#define CARRIES \
	CARRY(0, Z0, Z1)      \
	CARRY(64, Z1, Z2)     \
	CARRY(128, Z2, Z3)    \
	CARRY(192, Z3, Z4)    \
	CARRY(256, Z4, Z5)    \
	CARRY(320, Z5, Z6)    \
	CARRY(384, Z6, Z7)    \
	CARRY(448, Z7, Z8)    \
	CARRY(512, Z8, Z9)    \
	CARRY(576, Z9, Z10)   \
	CARRY(640, Z10, Z11)  \
	CARRY(704, Z11, Z12)  \
	CARRY(768, Z12, Z13)  \
	CARRY(832, Z13, Z14)  \
	CARRY(896, Z14, Z15)  \
	CARRY(960, Z15, Z16)  \
	CARRY(1024, Z16, Z17) \
	CARRY(1088, Z17, Z18) \
	CARRY(1152, Z18, Z19) \
	VMOVDQU64 Z19, 1216(DI)

// CONSTANTS loads what is the same for all rows.
#define CONSTANTS \
	VMOVDQU64 1280(AX), Z24       \
	MOVQ $0xfffffffffffff, R10    \
	VPBROADCASTQ R10, Z25

// ZERO clears the columns.
#define ZERO \
	VPXORQ Z0, Z0, Z0    \
	VPXORQ Z1, Z1, Z1    \
	VPXORQ Z2, Z2, Z2    \
	VPXORQ Z3, Z3, Z3    \
	VPXORQ Z4, Z4, Z4    \
	VPXORQ Z5, Z5, Z5    \
	VPXORQ Z6, Z6, Z6    \
	VPXORQ Z7, Z7, Z7    \
	VPXORQ Z8, Z8, Z8    \
	VPXORQ Z9, Z9, Z9    \
	VPXORQ Z10, Z10, Z10 \
	VPXORQ Z11, Z11, Z11 \
	VPXORQ Z12, Z12, Z12 \
	VPXORQ Z13, Z13, Z13 \
	VPXORQ Z14, Z14, Z14 \
	VPXORQ Z15, Z15, Z15 \
	VPXORQ Z16, Z16, Z16 \
	VPXORQ Z17, Z17, Z17 \
	VPXORQ Z18, Z18, Z18 \
	VPXORQ Z19, Z19, Z19

// func amm8(out, a, b *lanes, m *moduli)
TEXT ·amm8(SB), NOSPLIT, $0-32
	MOVQ out+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), BX
	MOVQ m+24(FP), AX
	CONSTANTS
	ZERO
	MOVQ $20, CX

row:
	VMOVDQU64 (BX), Z22
	ROW
	ADDQ $64, BX
	DECQ CX
	JNZ  row

	CARRIES
	VZEROUPPER
	RET

// PAIR picks one of two table entries by the lowest bits of the exponents, FOUR one of four by the two lowest,
// EIGHT one of eight. Each entry is loaded whole, whatever the bits: whether a load under a mask touches what the mask
// leaves out is up to the processor.
#define PAIR(AT, Z) \
	VMOVDQU64  AT+0(BX), Z   \
	VMOVDQU64  AT+64(BX), Z29 \
	VPBLENDMQ  Z29, Z, K1, Z

#define FOUR(AT, Z, TEMP) \
	PAIR(AT, Z)        \
	PAIR(AT+128, TEMP) \
	VPBLENDMQ TEMP, Z, K2, Z

#define EIGHT(AT, Z, TEMP1, TEMP2) \
	FOUR(AT, Z, TEMP1)         \
	FOUR(AT+256, TEMP1, TEMP2) \
	VPBLENDMQ TEMP1, Z, K3, Z

// func amm8pick(x *lanes, table *powers, which uint32, m *moduli)
TEXT ·amm8pick(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), DI
	MOVQ DI, SI
	MOVQ table+8(FP), BX
	MOVL which+16(FP), R9
	MOVQ m+24(FP), AX
	CONSTANTS
	KMOVB R9, K1
	SHRL  $8, R9
	KMOVB R9, K2
	SHRL  $8, R9
	KMOVB R9, K3
	SHRL  $8, R9
	KMOVB R9, K4
	ZERO
	MOVQ $20, CX

row:
	EIGHT(0, Z22, Z26, Z27)
	EIGHT(512, Z26, Z27, Z28)
	VPBLENDMQ Z26, Z22, K4, Z22
	ROW
	ADDQ $1024, BX
	DECQ CX
	JNZ  row

	CARRIES
	VZEROUPPER
	RET

// ABOVE1 multiplies a digit by the one above it, ABOVE2 by the two above it, and so on.
#define ABOVE1 \
	TIMES(64(SI), Z22, Z0, Z1)
#define ABOVE2 ABOVE1 \
	TIMES(128(SI), Z22, Z1, Z2)
#define ABOVE3 ABOVE2 \
	TIMES(192(SI), Z22, Z2, Z3)
#define ABOVE4 ABOVE3 \
	TIMES(256(SI), Z22, Z3, Z4)
#define ABOVE5 ABOVE4 \
	TIMES(320(SI), Z22, Z4, Z5)
#define ABOVE6 ABOVE5 \
	TIMES(384(SI), Z22, Z5, Z6)
#define ABOVE7 ABOVE6 \
	TIMES(448(SI), Z22, Z6, Z7)
#define ABOVE8 ABOVE7 \
	TIMES(512(SI), Z22, Z7, Z8)
#define ABOVE9 ABOVE8 \
	TIMES(576(SI), Z22, Z8, Z9)
#define ABOVE10 ABOVE9 \
	TIMES(640(SI), Z22, Z9, Z10)
#define ABOVE11 ABOVE10 \
	TIMES(704(SI), Z22, Z10, Z11)
#define ABOVE12 ABOVE11 \
	TIMES(768(SI), Z22, Z11, Z12)
#define ABOVE13 ABOVE12 \
	TIMES(832(SI), Z22, Z12, Z13)
#define ABOVE14 ABOVE13 \
	TIMES(896(SI), Z22, Z13, Z14)
#define ABOVE15 ABOVE14 \
	TIMES(960(SI), Z22, Z14, Z15)
#define ABOVE16 ABOVE15 \
	TIMES(1024(SI), Z22, Z15, Z16)
#define ABOVE17 ABOVE16 \
	TIMES(1088(SI), Z22, Z16, Z17)
#define ABOVE18 ABOVE17 \
	TIMES(1152(SI), Z22, Z17, Z18)
#define ABOVE19 ABOVE18 \
	TIMES(1216(SI), Z22, Z18, Z19)

// NEXT ends a row, whose two lowest columns are done but for this: products of two digits count twice, and the
// square of each digit adds the high half to the lower and that of the next the low half to the upper.
#define NEXT \
	VPADDQ      Z0, Z0, Z0    \
	VPMADD52HUQ Z22, Z22, Z0  \
	VMOVDQU64   Z0, 64(R9)    \
	VMOVDQU64   64(SI), Z22   \
	VPADDQ      Z1, Z1, Z1    \
	VPMADD52LUQ Z22, Z22, Z1  \
	VMOVDQU64   Z1, 128(R9)   \
	ADDQ        $64, SI       \
	ADDQ        $128, R9      \
	VMOVDQA64   Z2, Z0        \
	VMOVDQA64   Z3, Z1        \
	VMOVDQA64   Z4, Z2        \
	VMOVDQA64   Z5, Z3        \
	VMOVDQA64   Z6, Z4        \
	VMOVDQA64   Z7, Z5        \
	VMOVDQA64   Z8, Z6        \
	VMOVDQA64   Z9, Z7        \
	VMOVDQA64   Z10, Z8       \
	VMOVDQA64   Z11, Z9       \
	VMOVDQA64   Z12, Z10      \
	VMOVDQA64   Z13, Z11      \
	VMOVDQA64   Z14, Z12      \
	VMOVDQA64   Z15, Z13      \
	VMOVDQA64   Z16, Z14      \
	VMOVDQA64   Z17, Z15      \
	VMOVDQA64   Z18, Z16      \
	VMOVDQA64   Z19, Z17      \
	VPXORQ      Z18, Z18, Z18 \
	VPXORQ      Z19, Z19, Z19

// func sqr8(x *lanes, m *moduli, wide *[2 * digits]vector, times int)
//
// The square first, since it needs each product of two digits only once, then its reduction.
//
//	SI the digit at hand, R9 the column at hand, R11 the square, DX squarings left
TEXT ·sqr8(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), DI
	MOVQ m+8(FP), AX
	MOVQ wide+16(FP), R11
	MOVQ times+24(FP), DX
	CONSTANTS

square:
	MOVQ DI, SI
	MOVQ R11, R9
	ZERO
	VMOVDQU64   (SI), Z22
	VPXORQ      Z20, Z20, Z20
	VPMADD52LUQ Z22, Z22, Z20
	VMOVDQU64   Z20, (R9)
	ABOVE19
	NEXT
	ABOVE18
	NEXT
	ABOVE17
	NEXT
	ABOVE16
	NEXT
	ABOVE15
	NEXT
	ABOVE14
	NEXT
	ABOVE13
	NEXT
	ABOVE12
	NEXT
	ABOVE11
	NEXT
	ABOVE10
	NEXT
	ABOVE9
	NEXT
	ABOVE8
	NEXT
	ABOVE7
	NEXT
	ABOVE6
	NEXT
	ABOVE5
	NEXT
	ABOVE4
	NEXT
	ABOVE3
	NEXT
	ABOVE2
	NEXT
	ABOVE1
	NEXT
	VPMADD52HUQ Z22, Z22, Z0
	VMOVDQU64   Z0, 64(R9)

	MOVQ R11, R9
	VMOVDQU64 0(R9), Z0
	VMOVDQU64 64(R9), Z1
	VMOVDQU64 128(R9), Z2
	VMOVDQU64 192(R9), Z3
	VMOVDQU64 256(R9), Z4
	VMOVDQU64 320(R9), Z5
	VMOVDQU64 384(R9), Z6
	VMOVDQU64 448(R9), Z7
	VMOVDQU64 512(R9), Z8
	VMOVDQU64 576(R9), Z9
	VMOVDQU64 640(R9), Z10
	VMOVDQU64 704(R9), Z11
	VMOVDQU64 768(R9), Z12
	VMOVDQU64 832(R9), Z13
	VMOVDQU64 896(R9), Z14
	VMOVDQU64 960(R9), Z15
	VMOVDQU64 1024(R9), Z16
	VMOVDQU64 1088(R9), Z17
	VMOVDQU64 1152(R9), Z18
	VMOVDQU64 1216(R9), Z19
	MOVQ $20, CX

row:
	VMOVDQU64 1280(R9), Z20
	QUOTIENT
	REDUCE
	ADDQ $64, R9
	DECQ CX
	JNZ  row

	CARRIES
	DECQ DX
	JNZ  square
	VZEROUPPER
	RET
