// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"

// Four rounds of SHA-1, after Intel's "New Instructions Supporting the Secure Hash Algorithm on Intel Architecture
// Processors" (2013). M are the four words of these rounds, A is a to d, E the A of four rounds ago, of which
// SHA1NEXTE makes e and to which it adds M, F takes this A for the next four.
#define ROUNDS(K, M, E, F, A) \
	SHA1NEXTE M, E \
	MOVO      A, F \
	SHA1RNDS4 K, E, A

// What M contributes to later words (FIPS 180-4, Section 6.1.2, step 1): N are the four words after M, which it
// completes, P those after N, Q those after P, which take the place of what came before M.
#define BEGIN(M, Q)  SHA1MSG1 M, Q
#define ADD(M, P)    PXOR     M, P
#define FINISH(M, N) SHA1MSG2 M, N

#define FOUR(K, M, N, P, Q, E, F, A) \
	ROUNDS(K, M, E, F, A) \
	FINISH(M, N) \
	BEGIN(M, Q) \
	ADD(M, P)

// The same of both messages. The processor runs them at once, neither needs what the other computes.
#define BOTH(K, M, N, P, Q, E, F, M_, N_, P_, Q_, E_, F_) \
	FOUR(K, M, N, P, Q, E, F, X0) \
	FOUR(K, M_, N_, P_, Q_, E_, F_, X7)

// The words of both messages take turns in four registers each, and so do E and F.
#define FOUR3(K) BOTH(K, X6, X3, X4, X5, X2, X1, X13, X10, X11, X12, X9, X8)
#define FOUR0(K) BOTH(K, X3, X4, X5, X6, X1, X2, X10, X11, X12, X13, X8, X9)
#define FOUR1(K) BOTH(K, X4, X5, X6, X3, X2, X1, X11, X12, X13, X10, X9, X8)
#define FOUR2(K) BOTH(K, X5, X6, X3, X4, X1, X2, X12, X13, X10, X11, X8, X9)

#define LOAD(N, M, M_) \
	MOVOU  N(SI), M \
	MOVOU  N(DX), M_ \
	PSHUFB X14, M \
	PSHUFB X14, M_

// func blocksSHA(h *hashes, p, q []byte)
//
// DI h, SI p, CX bytes of it left, DX q. Of p: X0 a to d, X1 and X2 E and F, X3 to X6 words. Of q: X7, X8 and X9, X10
// to X13. X14 turns words round.
TEXT ·blocksSHA(SB), NOSPLIT, $64-56
	MOVQ   h+0(FP), DI
	MOVQ   p_base+8(FP), SI
	MOVQ   p_len+16(FP), CX
	MOVQ   q_base+32(FP), DX
	MOVOU  turn<>(SB), X14
	MOVOU  0(DI), X0
	MOVOU  20(DI), X7
	PSHUFD $0x1B, X0, X0
	PSHUFD $0x1B, X7, X7
	PXOR   X1, X1
	PXOR   X8, X8
	PINSRD $3, 16(DI), X1
	PINSRD $3, 36(DI), X8

loop:
	MOVOU X0, 0(SP)
	MOVOU X1, 16(SP)
	MOVOU X7, 32(SP)
	MOVOU X8, 48(SP)

	// Rounds 0 to 3: e is e, not made of an earlier a.
	LOAD(0, X3, X10)
	PADDD X3, X1
	PADDD X10, X8
	MOVO  X0, X2
	MOVO  X7, X9
	SHA1RNDS4 $0, X1, X0
	SHA1RNDS4 $0, X8, X7

	// 4 to 15: the words are the message's.
	LOAD(16, X4, X11)
	ROUNDS($0, X4, X2, X1, X0)
	ROUNDS($0, X11, X9, X8, X7)
	BEGIN(X4, X3)
	BEGIN(X11, X10)
	LOAD(32, X5, X12)
	ROUNDS($0, X5, X1, X2, X0)
	ROUNDS($0, X12, X8, X9, X7)
	BEGIN(X5, X4)
	BEGIN(X12, X11)
	ADD(X5, X3)
	ADD(X12, X10)
	LOAD(48, X6, X13)
	FOUR3($0)

	// 16 to 67.
	FOUR0($0)
	FOUR1($1)
	FOUR2($1)
	FOUR3($1)
	FOUR0($1)
	FOUR1($1)
	FOUR2($2)
	FOUR3($2)
	FOUR0($2)
	FOUR1($2)
	FOUR2($2)
	FOUR3($3)
	FOUR0($3)

	// 68 to 79: no more words are needed than these.
	ROUNDS($3, X4, X2, X1, X0)
	ROUNDS($3, X11, X9, X8, X7)
	FINISH(X4, X5)
	FINISH(X11, X12)
	ADD(X4, X6)
	ADD(X11, X13)
	ROUNDS($3, X5, X1, X2, X0)
	ROUNDS($3, X12, X8, X9, X7)
	FINISH(X5, X6)
	FINISH(X12, X13)
	ROUNDS($3, X6, X2, X1, X0)
	ROUNDS($3, X13, X9, X8, X7)

	MOVOU 0(SP), X3
	MOVOU 16(SP), X4
	MOVOU 32(SP), X10
	MOVOU 48(SP), X11
	PADDD X3, X0
	SHA1NEXTE X4, X1
	PADDD X10, X7
	SHA1NEXTE X11, X8
	ADDQ  $64, SI
	ADDQ  $64, DX
	SUBQ  $64, CX
	JNZ   loop

	PSHUFD $0x1B, X0, X0
	PSHUFD $0x1B, X7, X7
	MOVOU  X0, 0(DI)
	PEXTRD $3, X1, 16(DI)
	MOVOU  X7, 20(DI)
	PEXTRD $3, X8, 36(DI)
	RET

// turn reverses the bytes of a register: words are big-endian, and the first is the highest.
DATA turn<>+0(SB)/8, $0x08090A0B0C0D0E0F
DATA turn<>+8(SB)/8, $0x0001020304050607
GLOBL turn<>(SB), RODATA|NOPTR, $16
