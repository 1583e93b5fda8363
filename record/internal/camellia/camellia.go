// SPDX-License-Identifier: Apache-2.0

// Package camellia is the block cipher Camellia (RFC 3713) with keys of 128 and 256 bits.
package camellia

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math/bits"
	"sync"
)

// BlockSize is Camellia's block size in bytes.
const BlockSize = 16

// camellia holds the subkeys in the order of their use: two of whitening, six of rounds, two of
// FL and FLINV, six of rounds and so on, two of whitening.
type camellia struct{ enc, dec []uint64 }

// NewCipher returns Camellia with a key of 16 or 32 bytes. It is safe for concurrent use.
func NewCipher(key []byte) (cipher.Block, error) {
	if len(key) != 16 && len(key) != 32 {
		return nil, errors.New("camellia: invalid key size")
	}
	makeTables()
	c := &camellia{enc: expandKey(key)}
	c.dec = reverse(c.enc)
	return c, nil
}

// The constants of RFC 3713, Section 2.2.
const (
	sigma1 = 0xA09E667F3BCC908B
	sigma2 = 0xB67AE8584CAA73B2
	sigma3 = 0xC6EF372FE94F82BE
	sigma4 = 0x54FF53A5F1D36F1C
	sigma5 = 0x10E527FADE682D1D
	sigma6 = 0xB05688C2B3E6C1FD
)

// pair is a value of 128 bits.
type pair struct{ hi, lo uint64 }

func (p pair) xor(q pair) pair { return pair{p.hi ^ q.hi, p.lo ^ q.lo} }

func (p pair) rotate(n int) pair {
	if n >= 64 {
		p.hi, p.lo = p.lo, p.hi
		n -= 64
	}
	return pair{p.hi<<n | p.lo>>(64-n), p.lo<<n | p.hi>>(64-n)}
}

func (p pair) twoRounds(k1, k2 uint64) pair {
	p.lo ^= f(p.hi, k1)
	p.hi ^= f(p.lo, k2)
	return p
}

// expandKey is RFC 3713, Section 2.2.
func expandKey(key []byte) []uint64 {
	kl := pair{binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])}
	var kr pair
	if len(key) == 32 {
		kr = pair{binary.BigEndian.Uint64(key[16:]), binary.BigEndian.Uint64(key[24:])}
	}
	ka := kl.xor(kr).twoRounds(sigma1, sigma2).xor(kl).twoRounds(sigma3, sigma4)
	if len(key) == 16 {
		return schedule128(kl, ka)
	}
	kb := ka.xor(kr).twoRounds(sigma5, sigma6)
	return schedule256(kl, kr, ka, kb)
}

func schedule128(kl, ka pair) []uint64 {
	k := make([]uint64, 0, 26)
	add := func(p pair, n int) { p = p.rotate(n); k = append(k, p.hi, p.lo) }
	add(kl, 0)
	add(ka, 0)
	add(kl, 15)
	add(ka, 15)
	add(ka, 30)
	add(kl, 45)
	k = append(k, ka.rotate(45).hi, kl.rotate(60).lo)
	add(ka, 60)
	add(kl, 77)
	add(kl, 94)
	add(ka, 94)
	add(kl, 111)
	add(ka, 111)
	return k
}

func schedule256(kl, kr, ka, kb pair) []uint64 {
	k := make([]uint64, 0, 34)
	add := func(p pair, n int) { p = p.rotate(n); k = append(k, p.hi, p.lo) }
	add(kl, 0)
	add(kb, 0)
	add(kr, 15)
	add(ka, 15)
	add(kr, 30)
	add(kb, 30)
	add(kl, 45)
	add(ka, 45)
	add(kl, 60)
	add(kr, 60)
	add(kb, 60)
	add(kl, 77)
	add(ka, 77)
	add(kr, 94)
	add(ka, 94)
	add(kl, 111)
	add(kb, 111)
	return k
}

// reverse turns the subkeys for encryption into those for decryption (RFC 3713, Section 2.3.3):
// the order is reversed, but for the halves of the whitening keys.
func reverse(enc []uint64) []uint64 {
	n := len(enc)
	dec := make([]uint64, n)
	for i, k := range enc {
		dec[n-1-i] = k
	}
	dec[0], dec[1] = dec[1], dec[0]
	dec[n-2], dec[n-1] = dec[n-1], dec[n-2]
	return dec
}

// sp[i] is the S-box and the part of the P function that the i-th byte goes through.
var sp [8][256]uint64

var makeTables = sync.OnceFunc(func() {
	// spread[i] has 0xFF in each output byte that the i-th byte of the input is added to by the P
	// function of RFC 3713, Section 2.4.1.
	spread := [8]uint64{
		0xFFFFFF00FF0000FF, 0x00FFFFFFFFFF0000, 0xFF00FFFF00FFFF00, 0xFFFF00FF0000FFFF,
		0x00FFFFFF00FFFFFF, 0xFF00FFFFFF00FFFF, 0xFFFF00FFFFFF00FF, 0xFFFFFF00FFFFFF00,
	}
	for x := range 256 {
		s1 := sbox1[x]
		s2, s3 := bits.RotateLeft8(s1, 1), bits.RotateLeft8(s1, 7)
		s4 := sbox1[bits.RotateLeft8(uint8(x), 1)]
		for i, s := range [8]byte{s1, s2, s3, s4, s2, s3, s4, s1} {
			sp[i][x] = uint64(s) * 0x0101010101010101 & spread[i]
		}
	}
})

// f is the F function of RFC 3713, Section 2.4.1.
func f(x, k uint64) uint64 {
	x ^= k
	return sp[0][x>>56] ^ sp[1][byte(x>>48)] ^ sp[2][byte(x>>40)] ^ sp[3][byte(x>>32)] ^
		sp[4][byte(x>>24)] ^ sp[5][byte(x>>16)] ^ sp[6][byte(x>>8)] ^ sp[7][byte(x)]
}

// fl is the FL function of RFC 3713, Section 2.4.2.
func fl(x, k uint64) uint64 {
	hi, lo := uint32(x>>32), uint32(x)
	lo ^= bits.RotateLeft32(hi&uint32(k>>32), 1)
	hi ^= lo | uint32(k)
	return uint64(hi)<<32 | uint64(lo)
}

// flInverse is the FLINV function of RFC 3713, Section 2.4.3.
func flInverse(y, k uint64) uint64 {
	hi, lo := uint32(y>>32), uint32(y)
	hi ^= lo | uint32(k)
	lo ^= bits.RotateLeft32(hi&uint32(k>>32), 1)
	return uint64(hi)<<32 | uint64(lo)
}

func (c *camellia) BlockSize() int          { return BlockSize }
func (c *camellia) Encrypt(dst, src []byte) { crypt(c.enc, dst, src) }
func (c *camellia) Decrypt(dst, src []byte) { crypt(c.dec, dst, src) }

// crypt is RFC 3713, Section 2.3.
func crypt(k []uint64, dst, src []byte) {
	_, _ = src[BlockSize-1], dst[BlockSize-1]
	d1 := binary.BigEndian.Uint64(src) ^ k[0]
	d2 := binary.BigEndian.Uint64(src[8:]) ^ k[1]
	for k = k[2:]; ; k = k[8:] {
		d2 ^= f(d1, k[0])
		d1 ^= f(d2, k[1])
		d2 ^= f(d1, k[2])
		d1 ^= f(d2, k[3])
		d2 ^= f(d1, k[4])
		d1 ^= f(d2, k[5])
		if len(k) == 8 {
			break
		}
		d1, d2 = fl(d1, k[6]), flInverse(d2, k[7])
	}
	binary.BigEndian.PutUint64(dst, d2^k[6])
	binary.BigEndian.PutUint64(dst[8:], d1^k[7])
}
