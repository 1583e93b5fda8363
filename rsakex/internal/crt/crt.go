// SPDX-License-Identifier: Apache-2.0

// Package crt is what the vector forms of the private operation of RSA-2048 have in common: the numbers of a key whose two
// factors have 1024 bits each, and how the results modulo each become one (RFC 8017, Section 5.1.2). What is
// done for each ciphertext, DigitsFromBytes and Combine, takes no time and accesses no memory by what a number is.
package crt

import (
	"encoding/binary"
	"math/big"
	"math/bits"
)

const (
	// Factor is the length of each factor, in bits.
	Factor = 1024
	// Size is the length of a ciphertext and of what it opens to, in bytes.
	Size = 2 * Factor / 8

	words = Factor / 64
)

// Number is less than 2^1024, in words, the lowest first.
type Number [words]uint64

// Fits reports whether a key of these factors, and of d modulo p-1 and q-1, is of the size that is made for. Whether
// the numbers fit each other is the caller's to know.
func Fits(p, q, dp, dq *big.Int) bool {
	return p.BitLen() == Factor && q.BitLen() == Factor && p.Bit(0) == 1 && q.Bit(0) == 1 &&
		dp.Sign() > 0 && dq.Sign() > 0 && dp.BitLen() <= Factor && dq.BitLen() <= Factor
}

// FromBig takes a number that is not negative and less than 2^1024.
func FromBig(v *big.Int) (n Number) {
	b := v.FillBytes(make([]byte, Size/2))
	for i := range n {
		n[i] = binary.BigEndian.Uint64(b[len(b)-8*i-8:])
	}
	return n
}

// Combine sets out, of Size bytes and big-endian, to mq + q·h, Garner's recombination, where h is (mp - mq)/q modulo p.
func Combine(out []byte, h, mq, q *Number) {
	var sum [2 * words]uint64
	copy(sum[:], mq[:])
	for i, u := range h {
		var carry uint64
		for j, v := range q {
			hi, lo := bits.Mul64(u, v)
			var c uint64
			lo, c = bits.Add64(lo, carry, 0)
			hi += c
			sum[i+j], c = bits.Add64(sum[i+j], lo, 0)
			carry = hi + c
		}
		sum[i+words] = carry
	}
	for i, w := range sum {
		binary.BigEndian.PutUint64(out[Size-8*i-8:], w)
	}
}
