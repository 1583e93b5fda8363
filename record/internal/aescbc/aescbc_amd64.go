// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package aescbc

import (
	"encoding/binary"

	"golang.org/x/sys/cpu"

	"github.com/sightglass/sightglass/record/internal/cpuid"
)

// accelerated holds the round keys of the equivalent inverse cipher (FIPS 197, Section 5.3.5), in
// the order of their use.
type accelerated struct {
	rounds int // 10 or 14
	keys   [15][BlockSize]byte
}

func newAccelerated(key []byte) Decrypter {
	if !cpu.X86.HasAES {
		return nil
	}
	d := &accelerated{rounds: len(key)/4 + 6}
	d.expand(key)
	return d
}

// expand is FIPS 197, Section 5.2; the order of the round keys is reversed, and all but the first and
// last go through InvMixColumns.
func (d *accelerated) expand(key []byte) {
	nk := len(key) / 4
	var w [60]uint32
	for i := range nk {
		w[i] = binary.BigEndian.Uint32(key[4*i:])
	}
	rcon := uint32(1) << 24
	for i := nk; i < 4*(d.rounds+1); i++ {
		t := w[i-1]
		switch {
		case i%nk == 0:
			t = subWord(t<<8|t>>24) ^ rcon
			rcon = rcon<<1 ^ rcon>>31*(0x1B<<24) // x·rcon modulo x^8+x^4+x^3+x+1
		case nk > 6 && i%nk == 4:
			t = subWord(t)
		}
		w[i] = w[i-nk] ^ t
	}
	for r := range d.rounds + 1 {
		k := &d.keys[d.rounds-r]
		for c := range 4 {
			binary.BigEndian.PutUint32(k[4*c:], w[4*r+c])
		}
		if r != 0 && r != d.rounds {
			invMixColumns(k)
		}
	}
}

func (d *accelerated) Decrypt(dst, src, iv []byte) {
	check(dst, src, iv)
	if n := (len(src) - BlockSize) / sixteen; n > 0 && (has512 || has256) {
		// The first block is chained to the IV, the others to what is before them in src.
		decryptBlocks(d.rounds, &d.keys[0][0], &dst[0], &src[0], &iv[0], 1)
		decryptSixteens(d.rounds, &d.keys[0][0], &dst[BlockSize], &src[BlockSize], n)
		done := n * sixteen
		iv, dst, src = src[done:done+BlockSize], dst[done+BlockSize:], src[done+BlockSize:]
	}
	if len(src) > 0 {
		decryptBlocks(d.rounds, &d.keys[0][0], &dst[0], &src[0], &iv[0], len(src)/BlockSize)
	}
}

// sixteen blocks, in bytes.
const sixteen = 16 * BlockSize

// has512 and has256 say that the processor has the AES instructions for four blocks each, and for two.
var (
	has512 = cpuid.VAES && cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL
	has256 = cpuid.VAES && cpu.X86.HasAVX2
)

// subWord applies the S-box to each byte of w.
//
//go:noescape
func subWord(w uint32) uint32

// invMixColumns applies InvMixColumns (FIPS 197, Section 5.3.3) to k in place.
//
//go:noescape
func invMixColumns(k *[BlockSize]byte)

// decryptSixteens decrypts n times sixteen blocks, at least once, from src to dst. The block before src is there,
// too: it is what the first is chained to.
func decryptSixteens(rounds int, keys, dst, src *byte, n int) {
	if has512 {
		decryptSixteens512(rounds, keys, dst, src, n)
		return
	}
	decryptSixteens256(rounds, keys, dst, src, n)
}

//go:noescape
func decryptSixteens512(rounds int, keys, dst, src *byte, n int)

//go:noescape
func decryptSixteens256(rounds int, keys, dst, src *byte, n int)

// decryptBlocks decrypts blocks, at least one, from src to dst.
//
//go:noescape
func decryptBlocks(rounds int, keys, dst, src, iv *byte, blocks int)
