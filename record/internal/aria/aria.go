// SPDX-License-Identifier: Apache-2.0

// Package aria is the block cipher ARIA (RFC 5794) with keys of 128 and 256 bits.
package aria

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math/bits"
	"sync"
)

// BlockSize is ARIA's block size in bytes.
const BlockSize = 16

// state is a block, or a round key, as four words of which the highest byte comes first.
type state struct{ a, b, c, d uint32 }

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
	{0x517CC1B7, 0x27220A94, 0xFE13ABE8, 0xFA9A6EE0},
	{0x6DB14ACC, 0x9E21C820, 0xFF28B1D5, 0xEF5DE2B0},
	{0xDB92371D, 0x2126E970, 0x03249775, 0x04E8C90E},
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
	w1 := w0.xor(&constants[first]).odd().xor(&kr)
	w2 := w1.xor(&constants[(first+1)%3]).even().xor(&w0)
	w3 := w2.xor(&constants[(first+2)%3]).odd().xor(&w1)
	k := make([]state, 0, 20)
	for _, n := range [5]int{128 - 19, 128 - 31, 61, 31, 19} {
		r0, r1, r2, r3 := w0.rotate(n), w1.rotate(n), w2.rotate(n), w3.rotate(n)
		k = append(k, w0.xor(&r1), w1.xor(&r2), w2.xor(&r3), w3.xor(&r0))
	}
	return k[:rounds+1]
}

// invertKey returns the round keys of decryption (RFC 5794, Section 2.2).
func invertKey(enc []state) []state {
	n := len(enc)
	dec := make([]state, n)
	for i, k := range enc {
		if i != 0 && i != n-1 {
			k = state{others(k.a), others(k.b), others(k.c), others(k.d)}.diffuse()
		}
		dec[n-1-i] = k
	}
	return dec
}

var (
	// sb are SB1, SB2, SB3 and SB4.
	sb [4][256]byte
	// spread[i][j] is SB(i+1) for the byte j of a word, and the first step of the diffusion: the byte
	// is added to the three others of its word.
	spread [4][4][256]uint32
)

var makeTables = sync.OnceFunc(func() {
	for x := range 256 {
		sb[0][x], sb[1][x] = sb1[x], sb2[x]
		sb[2][sb1[x]], sb[3][sb2[x]] = byte(x), byte(x)
	}
	for i := range spread {
		for j := range spread[i] {
			for x, s := range sb[i] {
				spread[i][j][x] = uint32(s) * 0x01010101 &^ (0xFF000000 >> (8 * j))
			}
		}
	}
})

// others adds to each byte of a word the three others of it, and not itself.
func others(w uint32) uint32 {
	return bits.RotateLeft32(w, 8) ^ bits.RotateLeft32(w, 16) ^ bits.RotateLeft32(w, 24)
}

func (s state) xor(t *state) state { return state{s.a ^ t.a, s.b ^ t.b, s.c ^ t.c, s.d ^ t.d} }

// rotate rotates to the left by n bits, 0 < n < 128.
func (s state) rotate(n int) state {
	for ; n >= 32; n -= 32 {
		s.a, s.b, s.c, s.d = s.b, s.c, s.d, s.a
	}
	m := 32 - n
	return state{s.a<<n | s.b>>m, s.b<<n | s.c>>m, s.c<<n | s.d>>m, s.d<<n | s.a>>m}
}

func oddWord(w uint32) uint32 {
	return spread[0][0][w>>24] ^ spread[1][1][byte(w>>16)] ^ spread[2][2][byte(w>>8)] ^ spread[3][3][byte(w)]
}

func evenWord(w uint32) uint32 {
	return spread[2][0][w>>24] ^ spread[3][1][byte(w>>16)] ^ spread[0][2][byte(w>>8)] ^ spread[1][3][byte(w)]
}

func lastWord(w uint32) uint32 {
	return uint32(sb[2][w>>24])<<24 | uint32(sb[3][byte(w>>16)])<<16 | uint32(sb[0][byte(w>>8)])<<8 | uint32(sb[1][byte(w)])
}

// odd is FO of RFC 5794, Section 2.4.1, without the round key.
func (s state) odd() state {
	return state{oddWord(s.a), oddWord(s.b), oddWord(s.c), oddWord(s.d)}.diffuse()
}

// even is FE of RFC 5794, Section 2.4.1, without the round key.
func (s state) even() state {
	return state{evenWord(s.a), evenWord(s.b), evenWord(s.c), evenWord(s.d)}.diffuse()
}

// last is the substitution of the last round, which has no diffusion.
func (s state) last() state { return state{lastWord(s.a), lastWord(s.b), lastWord(s.c), lastWord(s.d)} }

// diffuse is what remains of the layer A of RFC 5794, Section 2.4.3, when each byte was added to the
// three others of its word: the words are mixed, their bytes moved, and the words mixed again.
func (s state) diffuse() state {
	s = s.mix()
	s.b = s.b<<8&0xFF00FF00 | s.b>>8&0x00FF00FF
	s.c = bits.RotateLeft32(s.c, 16)
	s.d = bits.ReverseBytes32(s.d)
	return s.mix()
}

// mix adds three of the four words to each.
func (s state) mix() state {
	bc := s.b ^ s.c
	ad := s.a ^ s.d
	return state{s.a ^ bc, ad ^ s.c, ad ^ s.b, bc ^ s.d}
}

func (c *aria) BlockSize() int          { return BlockSize }
func (c *aria) Encrypt(dst, src []byte) { crypt(c.enc, dst, src) }
func (c *aria) Decrypt(dst, src []byte) { crypt(c.dec, dst, src) }

func load(src []byte) state {
	_ = src[BlockSize-1]
	be := binary.BigEndian
	return state{be.Uint32(src), be.Uint32(src[4:]), be.Uint32(src[8:]), be.Uint32(src[12:])}
}

// crypt is RFC 5794, Section 2.3.
func crypt(k []state, dst, src []byte) {
	_ = dst[BlockSize-1]
	s := load(src)
	n := len(k) - 1
	for i := 0; i < n-2; i += 2 {
		s = s.xor(&k[i]).odd()
		s = s.xor(&k[i+1]).even()
	}
	s = s.xor(&k[n-2]).odd()
	s = s.xor(&k[n-1]).last().xor(&k[n])
	be := binary.BigEndian
	be.PutUint32(dst, s.a)
	be.PutUint32(dst[4:], s.b)
	be.PutUint32(dst[8:], s.c)
	be.PutUint32(dst[12:], s.d)
}
