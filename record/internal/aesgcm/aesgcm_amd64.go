// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package aesgcm

import (
	"golang.org/x/sys/cpu"

	"github.com/sightglass/sightglass/record/internal/cpuid"
)

// has512 and has256 say that the processor, and the system under it, can do what crypt512 does, and what crypt256 does.
var (
	has512 = hasAES && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL
	has256 = hasAES && cpu.X86.HasAVX2

	hasAES = cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpuid.VAES && cpuid.VPCLMULQDQ
)

func supported() bool { return has512 || has256 }

// crypt16 decrypts n times sixteen blocks, at least once, from src to dst, and adds them to sum. The
// counter goes on.
func crypt16(keys *[15][blockSize]byte, rounds int, powers *[16]element, counter *[blockSize]byte, sum *element, dst, src *byte, n int) {
	if has512 {
		crypt512(keys, rounds, powers, counter, sum, dst, src, n)
		return
	}
	crypt256(keys, rounds, powers, counter, sum, dst, src, n)
}

// stream16 adds sixteen blocks of the key stream to piece.
func stream16(keys *[15][blockSize]byte, rounds int, counter *[blockSize]byte, piece *[atOnce]byte) {
	if has512 {
		stream512(keys, rounds, counter, piece)
		return
	}
	stream256(keys, rounds, counter, piece)
}

// subWord applies the S-box to each byte of w.
//
//go:noescape
func subWord(w uint32) uint32

// encrypt encrypts one block. dst may be src.
//
//go:noescape
func encrypt(keys *[15][blockSize]byte, rounds int, dst, src *[blockSize]byte)

// mul sets sum to its product with power.
//
//go:noescape
func mul(sum, power *element)

// ghash adds blocks, at least one, to sum, each time multiplying by power.
//
//go:noescape
func ghash(sum, power *element, data *byte, blocks int)

//go:noescape
func crypt512(keys *[15][blockSize]byte, rounds int, powers *[16]element, counter *[blockSize]byte, sum *element, dst, src *byte, n int)

//go:noescape
func stream512(keys *[15][blockSize]byte, rounds int, counter *[blockSize]byte, piece *[atOnce]byte)

//go:noescape
func crypt256(keys *[15][blockSize]byte, rounds int, powers *[16]element, counter *[blockSize]byte, sum *element, dst, src *byte, n int)

//go:noescape
func stream256(keys *[15][blockSize]byte, rounds int, counter *[blockSize]byte, piece *[atOnce]byte)
