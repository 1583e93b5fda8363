// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package aesgcm

import "golang.org/x/sys/cpu"

// supported says that the processor, and the system under it, can do what crypt16 does.
var supported = cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW &&
	cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VAES && cpu.X86.HasAVX512VPCLMULQDQ

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

// crypt16 decrypts n times sixteen blocks, at least once, from src to dst, and adds them to sum. The
// counter goes on.
//
//go:noescape
func crypt16(keys *[15][blockSize]byte, rounds int, powers *[16]element, counter *[blockSize]byte, sum *element, dst, src *byte, n int)

// stream16 adds sixteen blocks of the key stream to piece.
//
//go:noescape
func stream16(keys *[15][blockSize]byte, rounds int, counter *[blockSize]byte, piece *[atOnce]byte)
