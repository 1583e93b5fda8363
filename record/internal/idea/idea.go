// SPDX-License-Identifier: Apache-2.0

// Package idea is the block cipher IDEA (Lai and Massey, 1991; ISO/IEC 9979/0002), which
// TLS_RSA_WITH_IDEA_CBC_SHA uses.
package idea

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
)

// Sizes in bytes.
const (
	BlockSize = 8
	KeySize   = 16
)

const (
	rounds  = 8
	subkeys = 6*rounds + 4
)

type idea struct{ enc, dec [subkeys]uint16 }

// NewCipher returns IDEA with a key of KeySize bytes. It is safe for concurrent use.
func NewCipher(key []byte) (cipher.Block, error) {
	if len(key) != KeySize {
		return nil, errors.New("idea: invalid key size")
	}
	c := &idea{enc: expandKey(key)}
	c.dec = invertKey(&c.enc)
	return c, nil
}

// expandKey reads the key as subkeys of 16 bits, over and over, rotated left by 25 bits each time.
func expandKey(key []byte) (k [subkeys]uint16) {
	hi, lo := binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])
	for i := range k {
		half := hi
		if i&7 >= 4 {
			half = lo
		}
		k[i] = uint16(half >> (48 - 16*(i&3)))
		if i&7 == 7 {
			hi, lo = hi<<25|lo>>39, lo<<25|hi>>39
		}
	}
	return k
}

// invertKey returns the subkeys that undo those of k: the same steps, from the last to the first.
func invertKey(k *[subkeys]uint16) (d [subkeys]uint16) {
	for r := 0; r <= rounds; r++ {
		from, to := k[6*(rounds-r):], d[6*r:]
		to[0], to[3] = inverse(from[0]), inverse(from[3])
		to[1], to[2] = -from[2], -from[1]
		if r == 0 || r == rounds { // the outer transformations are not followed by the inner swap
			to[1], to[2] = to[2], to[1]
		}
		if r < rounds {
			copy(to[4:6], k[6*(rounds-r)-2:])
		}
	}
	return d
}

// multiply is multiplication modulo 2^16+1, where 0 stands for 2^16.
func multiply(a, b uint16) uint16 {
	if a == 0 {
		return 1 - b
	}
	if b == 0 {
		return 1 - a
	}
	p := uint32(a) * uint32(b)
	lo, hi := uint16(p), uint16(p>>16)
	if lo < hi {
		return lo - hi + 1
	}
	return lo - hi
}

// inverse is the multiplicative inverse modulo the prime 2^16+1: the power of 2^16-1.
func inverse(a uint16) uint16 {
	r := a
	for range 15 {
		a = multiply(a, a)
		r = multiply(r, a)
	}
	return r
}

func (c *idea) BlockSize() int          { return BlockSize }
func (c *idea) Encrypt(dst, src []byte) { crypt(&c.enc, dst, src) }
func (c *idea) Decrypt(dst, src []byte) { crypt(&c.dec, dst, src) }

func crypt(k *[subkeys]uint16, dst, src []byte) {
	v := binary.BigEndian.Uint64(src)
	a, b, c, d := uint16(v>>48), uint16(v>>32), uint16(v>>16), uint16(v)
	for r := 0; r < 6*rounds; r += 6 {
		k := k[r : r+6 : r+6]
		a, b, c, d = multiply(a, k[0]), b+k[1], c+k[2], multiply(d, k[3])
		t := multiply(a^c, k[4])
		u := multiply(t+(b^d), k[5])
		t += u
		a, b, c, d = a^u, c^u, b^t, d^t
	}
	o := k[6*rounds:]
	a, b, c, d = multiply(a, o[0]), c+o[1], b+o[2], multiply(d, o[3])
	binary.BigEndian.PutUint64(dst, uint64(a)<<48|uint64(b)<<32|uint64(c)<<16|uint64(d))
}
