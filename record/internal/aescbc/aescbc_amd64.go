// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package aescbc

import (
	"encoding/binary"

	"golang.org/x/sys/cpu"
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
	if len(src) > 0 {
		decryptBlocks(d.rounds, &d.keys[0][0], &dst[0], &src[0], &iv[0], len(src)/BlockSize)
	}
}

// subWord applies the S-box to each byte of w.
//
//go:noescape
func subWord(w uint32) uint32

// invMixColumns applies InvMixColumns (FIPS 197, Section 5.3.3) to k in place.
//
//go:noescape
func invMixColumns(k *[BlockSize]byte)

// decryptBlocks decrypts blocks, at least one, from src to dst.
//
//go:noescape
func decryptBlocks(rounds int, keys, dst, src, iv *byte, blocks int)
