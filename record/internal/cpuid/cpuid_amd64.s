// SPDX-License-Identifier: Apache-2.0

//go:build !purego

#include "textflag.h"

// func leaf7() (ebx, ecx uint32)
TEXT ·leaf7(SB), NOSPLIT, $0-8
	MOVL $0, ebx+0(FP)
	MOVL $0, ecx+4(FP)
	XORL AX, AX
	CPUID
	CMPL AX, $7
	JCS  none
	MOVL $7, AX
	XORL CX, CX
	CPUID
	MOVL BX, ebx+0(FP)
	MOVL CX, ecx+4(FP)

none:
	RET
