// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package cpuid

func init() {
	ebx, ecx := leaf7()
	SHA = ebx>>29&1 == 1
	VAES = ecx>>9&1 == 1
	VPCLMULQDQ = ecx>>10&1 == 1
}

// leaf7 returns EBX and ECX of leaf 7, or 0 where there is none.
func leaf7() (ebx, ecx uint32)
