// SPDX-License-Identifier: Apache-2.0

// Package aria is the block cipher ARIA (RFC 5794) with keys of 128 and 256 bits.
package aria

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"sync"
)

// BlockSize is ARIA's block size in bytes.
const BlockSize = 16

// state is a block, or a round key; its first byte is the highest of hi.
type state struct{ hi, lo uint64 }

type aria struct{ enc, dec []state }

// NewCipher returns ARIA with a key of 16 or 32 bytes. It is safe for concurrent use.
func NewCipher(key []byte) (cipher.Block, error) {
	if len(key) != 16 && len(key) != 32 {
		return nil, errors.New("aria: invalid key size")
	}
	makeTables()
	c := &aria{enc: expandKey(key)}
	c.dec = invertKey(c.enc)
	return c, nil
}

// constants are C1, C2 and C3 of RFC 5794, Section 2.2.
var constants = [3]state{
	{0x517CC1B727220A94, 0xFE13ABE8FA9A6EE0},
	{0x6DB14ACC9E21C820, 0xFF28B1D5EF5DE2B0},
	{0xDB92371D2126E970, 0x0324977504E8C90E},
}

// expandKey is RFC 5794, Section 2.2.
func expandKey(key []byte) []state {
	w0 := load(key)
	var kr state
	first, rounds := 0, 12
	if len(key) == 32 {
		kr = load(key[16:])
		first, rounds = 2, 16
	}
	w1 := w0.xor(constants[first]).odd().xor(kr)
	w2 := w1.xor(constants[(first+1)%3]).even().xor(w0)
	w3 := w2.xor(constants[(first+2)%3]).odd().xor(w1)
	k := make([]state, 0, 20)
	for _, n := range [5]int{128 - 19, 128 - 31, 61, 31, 19} {
		k = append(k, w0.xor(w1.rotate(n)), w1.xor(w2.rotate(n)), w2.xor(w3.rotate(n)), w3.xor(w0.rotate(n)))
	}
	return k[:rounds+1]
}

// invertKey returns the round keys of decryption (RFC 5794, Section 2.2).
func invertKey(enc []state) []state {
	n := len(enc)
	dec := make([]state, n)
	for i, k := range enc {
		if i != 0 && i != n-1 {
			k = k.diffuse()
		}
		dec[n-1-i] = k
	}
	return dec
}

// sb are SB1, SB2, SB3 and SB4.
var sb [4][256]byte

var makeTables = sync.OnceFunc(func() {
	for x := range 256 {
		sb[0][x], sb[1][x] = sb1[x], sb2[x]
		sb[2][sb1[x]], sb[3][sb2[x]] = byte(x), byte(x)
	}
})

func (s state) xor(t state) state { return state{s.hi ^ t.hi, s.lo ^ t.lo} }

// rotate rotates to the left by n bits, 0 < n < 128.
func (s state) rotate(n int) state {
	if n >= 64 {
		s.hi, s.lo = s.lo, s.hi
		n -= 64
	}
	return state{s.hi<<n | s.lo>>(64-n), s.lo<<n | s.hi>>(64-n)}
}

// substitute applies the S-boxes a, b, c, d, a, b and so on, byte by byte.
func (s state) substitute(a, b, c, d *[256]byte) state {
	word := func(x uint64) uint64 {
		return uint64(a[x>>56])<<56 | uint64(b[byte(x>>48)])<<48 | uint64(c[byte(x>>40)])<<40 | uint64(d[byte(x>>32)])<<32 |
			uint64(a[byte(x>>24)])<<24 | uint64(b[byte(x>>16)])<<16 | uint64(c[byte(x>>8)])<<8 | uint64(d[byte(x)])
	}
	return state{word(s.hi), word(s.lo)}
}

// odd and even are FO and FE of RFC 5794, Section 2.4.1, without the round key.
func (s state) odd() state  { return s.substitute(&sb[0], &sb[1], &sb[2], &sb[3]).diffuse() }
func (s state) even() state { return s.substitute(&sb[2], &sb[3], &sb[0], &sb[1]).diffuse() }

// diffusion is the layer A of RFC 5794, Section 2.4.3: row i has 0xFF for each byte of the result
// that byte i is added to.
var diffusion = [16]state{
	{0x000000FFFF00FF00, 0xFFFF000000FFFF00},
	{0x0000FF0000FF00FF, 0xFFFF0000FF0000FF},
	{0x00FF0000FF00FF00, 0x0000FFFFFF0000FF},
	{0xFF00000000FF00FF, 0x0000FFFF00FFFF00},
	{0xFF00FF0000FF0000, 0xFF0000FF0000FFFF},
	{0x00FF00FFFF000000, 0x00FFFF000000FFFF},
	{0xFF00FF00000000FF, 0x00FFFF00FFFF0000},
	{0x00FF00FF0000FF00, 0xFF0000FFFFFF0000},
	{0xFFFF0000FF0000FF, 0x0000FF0000FF00FF},
	{0xFFFF000000FFFF00, 0x000000FFFF00FF00},
	{0x0000FFFF00FFFF00, 0xFF00000000FF00FF},
	{0x0000FFFFFF0000FF, 0x00FF0000FF00FF00},
	{0x00FFFF000000FFFF, 0x00FF00FFFF000000},
	{0xFF0000FF0000FFFF, 0xFF00FF0000FF0000},
	{0xFF0000FFFFFF0000, 0x00FF00FF0000FF00},
	{0x00FFFF00FFFF0000, 0xFF00FF00000000FF},
}

func (s state) diffuse() (r state) {
	for i := range 8 {
		m, n := &diffusion[i], &diffusion[i+8]
		x := s.hi >> (56 - 8*i) & 0xFF * 0x0101010101010101
		y := s.lo >> (56 - 8*i) & 0xFF * 0x0101010101010101
		r.hi ^= x&m.hi ^ y&n.hi
		r.lo ^= x&m.lo ^ y&n.lo
	}
	return r
}

func (c *aria) BlockSize() int          { return BlockSize }
func (c *aria) Encrypt(dst, src []byte) { crypt(c.enc, dst, src) }
func (c *aria) Decrypt(dst, src []byte) { crypt(c.dec, dst, src) }

func load(src []byte) state {
	return state{binary.BigEndian.Uint64(src), binary.BigEndian.Uint64(src[8:])}
}

// crypt is RFC 5794, Section 2.3. The last round has no diffusion.
func crypt(k []state, dst, src []byte) {
	_, _ = src[BlockSize-1], dst[BlockSize-1]
	s := load(src)
	n := len(k) - 1
	for i := 0; i < n-2; i += 2 {
		s = s.xor(k[i]).odd()
		s = s.xor(k[i+1]).even()
	}
	s = s.xor(k[n-2]).odd()
	s = s.xor(k[n-1]).substitute(&sb[2], &sb[3], &sb[0], &sb[1]).xor(k[n])
	binary.BigEndian.PutUint64(dst, s.hi)
	binary.BigEndian.PutUint64(dst[8:], s.lo)
}
