// SPDX-License-Identifier: Apache-2.0

// Package seed is the block cipher SEED (RFC 4269).
package seed

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"sync"
)

// Sizes in bytes.
const (
	BlockSize = 16
	KeySize   = 16
)

const rounds = 16

type seed struct{ k [rounds][2]uint32 }

// NewCipher returns SEED with a key of KeySize bytes. It is safe for concurrent use.
func NewCipher(key []byte) (cipher.Block, error) {
	if len(key) != KeySize {
		return nil, errors.New("seed: invalid key size")
	}
	makeTables()
	return &seed{expandKey(key)}, nil
}

// golden is KC0 of RFC 4269, Section 2.3; the other constants are its rotations.
const golden uint32 = 0x9E3779B9

func expandKey(key []byte) (k [rounds][2]uint32) {
	hi, lo := binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])
	for i := range k {
		kc := golden<<i | golden>>(32-i)
		k[i][0] = g(uint32(hi>>32) + uint32(lo>>32) - kc)
		k[i][1] = g(uint32(hi) - uint32(lo) + kc)
		if i&1 == 0 {
			hi = hi>>8 | hi<<56
		} else {
			lo = lo<<8 | lo>>56
		}
	}
	return k
}

// ss are the extended S-boxes of RFC 4269, Appendix A: S-box and mask in one look-up.
var ss [4][256]uint32

var makeTables = sync.OnceFunc(func() {
	const m0, m1, m2, m3 = 0xFC, 0xF3, 0xCF, 0x3F
	for i := range 256 {
		a, b := uint32(s0[i]), uint32(s1[i])
		ss[0][i] = a&m3<<24 | a&m2<<16 | a&m1<<8 | a&m0
		ss[1][i] = b&m0<<24 | b&m3<<16 | b&m2<<8 | b&m1
		ss[2][i] = a&m1<<24 | a&m0<<16 | a&m3<<8 | a&m2
		ss[3][i] = b&m2<<24 | b&m1<<16 | b&m0<<8 | b&m3
	}
})

// g is the function G of RFC 4269, Section 2.2.
func g(x uint32) uint32 {
	return ss[0][byte(x)] ^ ss[1][byte(x>>8)] ^ ss[2][byte(x>>16)] ^ ss[3][x>>24]
}

// f is the function F of RFC 4269, Section 2.1.
func f(c, d uint32, k *[2]uint32) (uint32, uint32) {
	c ^= k[0]
	d ^= k[1] ^ c
	d = g(d)
	c = g(c + d)
	d = g(d + c)
	return c + d, d
}

func (c *seed) BlockSize() int { return BlockSize }

func (c *seed) Encrypt(dst, src []byte) {
	b := load(src)
	for i := range c.k {
		b.round(&c.k[i])
	}
	b.store(dst)
}

func (c *seed) Decrypt(dst, src []byte) {
	b := load(src)
	for i := rounds - 1; i >= 0; i-- {
		b.round(&c.k[i])
	}
	b.store(dst)
}

type block struct{ l0, l1, r0, r1 uint32 }

func load(src []byte) block {
	_ = src[BlockSize-1]
	be := binary.BigEndian
	return block{be.Uint32(src), be.Uint32(src[4:]), be.Uint32(src[8:]), be.Uint32(src[12:])}
}

func (b *block) round(k *[2]uint32) {
	x, y := f(b.r0, b.r1, k)
	b.l0, b.l1, b.r0, b.r1 = b.r0, b.r1, b.l0^x, b.l1^y
}

// store undoes the last round's swap, which SEED leaves out.
func (b *block) store(dst []byte) {
	_ = dst[BlockSize-1]
	be := binary.BigEndian
	be.PutUint32(dst, b.r0)
	be.PutUint32(dst[4:], b.r1)
	be.PutUint32(dst[8:], b.l0)
	be.PutUint32(dst[12:], b.l1)
}
