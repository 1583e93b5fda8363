// SPDX-License-Identifier: Apache-2.0

// Package rc2 is the block cipher RC2 (RFC 2268), which the export suites of SSL 3.0 and TLS 1.0 use, and old
// PKCS #12 files. No module that is kept well exports it.
package rc2

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math/bits"
)

// BlockSize is RC2's block size in bytes.
const BlockSize = 8

// piTable is PITABLE of RFC 2268, Section 2.
const piTable = "" +
	"\xd9\x78\xf9\xc4\x19\xdd\xb5\xed\x28\xe9\xfd\x79\x4a\xa0\xd8\x9d" +
	"\xc6\x7e\x37\x83\x2b\x76\x53\x8e\x62\x4c\x64\x88\x44\x8b\xfb\xa2" +
	"\x17\x9a\x59\xf5\x87\xb3\x4f\x13\x61\x45\x6d\x8d\x09\x81\x7d\x32" +
	"\xbd\x8f\x40\xeb\x86\xb7\x7b\x0b\xf0\x95\x21\x22\x5c\x6b\x4e\x82" +
	"\x54\xd6\x65\x93\xce\x60\xb2\x1c\x73\x56\xc0\x14\xa7\x8c\xf1\xdc" +
	"\x12\x75\xca\x1f\x3b\xbe\xe4\xd1\x42\x3d\xd4\x30\xa3\x3c\xb6\x26" +
	"\x6f\xbf\x0e\xda\x46\x69\x07\x57\x27\xf2\x1d\x9b\xbc\x94\x43\x03" +
	"\xf8\x11\xc7\xf6\x90\xef\x3e\xe7\x06\xc3\xd5\x2f\xc8\x66\x1e\xd7" +
	"\x08\xe8\xea\xde\x80\x52\xee\xf7\x84\xaa\x72\xac\x35\x4d\x6a\x2a" +
	"\x96\x1a\xd2\x71\x5a\x15\x49\x74\x4b\x9f\xd0\x5e\x04\x18\xa4\xec" +
	"\xc2\xe0\x41\x6e\x0f\x51\xcb\xcc\x24\x91\xaf\x50\xa1\xf4\x70\x39" +
	"\x99\x7c\x3a\x85\x23\xb8\xb4\x7a\xfc\x02\x36\x5b\x25\x55\x97\x31" +
	"\x2d\x5d\xfa\x98\xe3\x8a\x92\xae\x05\xdf\x29\x10\x67\x6c\xba\xc9" +
	"\xd3\x00\xe6\xcf\xe1\x9e\xa8\x2c\x63\x16\x01\x3f\x58\xe2\x89\xa9" +
	"\x0d\x38\x34\x1b\xab\x33\xff\xb0\xbb\x48\x0c\x5f\xb9\xb1\xcd\x2e" +
	"\xc5\xf3\xdb\x47\xe5\xa5\x9c\x77\x0a\xa6\x20\x68\xfe\x7f\xc1\xad"

type rc2 struct{ k [64]uint16 }

// NewCipher returns RC2 with a key of 1 to 128 bytes, of which effectiveBits (1 to 1024) count.
// It is safe for concurrent use.
func NewCipher(key []byte, effectiveBits int) (cipher.Block, error) {
	if len(key) < 1 || len(key) > 128 || effectiveBits < 1 || effectiveBits > 1024 {
		return nil, errors.New("rc2: invalid key size")
	}
	return &rc2{expandKey(key, effectiveBits)}, nil
}

// expandKey is RFC 2268, Section 2.
func expandKey(key []byte, effectiveBits int) (k [64]uint16) {
	var l [128]byte
	copy(l[:], key)
	for i := len(key); i < len(l); i++ {
		l[i] = piTable[l[i-1]+l[i-len(key)]]
	}
	t8 := (effectiveBits + 7) / 8
	tm := byte(0xFF >> (8*t8 - effectiveBits))
	l[128-t8] = piTable[l[128-t8]&tm]
	for i := 127 - t8; i >= 0; i-- {
		l[i] = piTable[l[i+1]^l[i+t8]]
	}
	for i := range k {
		k[i] = binary.LittleEndian.Uint16(l[2*i:])
	}
	return k
}

func (c *rc2) BlockSize() int { return BlockSize }

func load(src []byte) (r [4]uint16) {
	_ = src[BlockSize-1]
	for i := range r {
		r[i] = binary.LittleEndian.Uint16(src[2*i:])
	}
	return r
}

func store(dst []byte, r *[4]uint16) {
	_ = dst[BlockSize-1]
	for i, w := range r {
		binary.LittleEndian.PutUint16(dst[2*i:], w)
	}
}

// shifts are the s[i] of RFC 2268, Section 3.1.
var shifts = [4]int{1, 2, 3, 5}

// Encrypt is RFC 2268, Section 3: mixing rounds, with a mashing round after the fifth and eleventh.
func (c *rc2) Encrypt(dst, src []byte) {
	r := load(src)
	for j := 0; j < len(c.k); j += 4 {
		for i := range r {
			x, y, z := r[(i+3)&3], r[(i+2)&3], r[(i+1)&3]
			r[i] = bits.RotateLeft16(r[i]+c.k[j+i]+(x&y)+(^x&z), shifts[i])
		}
		if j == 16 || j == 40 {
			for i := range r {
				r[i] += c.k[r[(i+3)&3]&63]
			}
		}
	}
	store(dst, &r)
}

// Decrypt is RFC 2268, Section 4.
func (c *rc2) Decrypt(dst, src []byte) {
	r := load(src)
	for j := len(c.k) - 4; j >= 0; j -= 4 {
		if j == 16 || j == 40 {
			for i := 3; i >= 0; i-- {
				r[i] -= c.k[r[(i+3)&3]&63]
			}
		}
		for i := 3; i >= 0; i-- {
			x, y, z := r[(i+3)&3], r[(i+2)&3], r[(i+1)&3]
			r[i] = bits.RotateLeft16(r[i], -shifts[i]) - c.k[j+i] - (x & y) - (^x & z)
		}
	}
	store(dst, &r)
}
