// SPDX-License-Identifier: Apache-2.0

package crt

import (
	"encoding/binary"
	"math/big"
)

const (
	// DigitCount is how many digits a number has that is worked with.
	DigitCount = 20
	// DigitBits is the length of a digit: as much as a floating-point number has, and as IFMA multiplies.
	DigitBits = 52

	digitMask = 1<<DigitBits - 1
)

// Digits is a number less than 2^1040, in digits of 52 bits, the lowest first. Add, Sub and Once take no time and access no
// memory by what it is.
type Digits [DigitCount]uint64

// DigitsFromBig takes a number that is not negative and less than 2^1040.
func DigitsFromBig(v *big.Int) Digits { return DigitsFromBytes(v.FillBytes(make([]byte, Factor/8+8))) }

// PowerOfTwo returns 2^n modulo m.
func PowerOfTwo(n uint, m *big.Int) Digits {
	v := new(big.Int).Lsh(big.NewInt(1), n)
	return DigitsFromBig(v.Mod(v, m))
}

// DigitsFromBytes takes a big-endian number of no more than 17 words of 64 bits.
func DigitsFromBytes(b []byte) (n Digits) {
	var w [words + 1]uint64
	for i := range len(b) / 8 {
		w[i] = binary.BigEndian.Uint64(b[len(b)-8*i-8:])
	}
	for i := range n {
		bit := i * DigitBits
		at, shift := bit/64, bit%64
		if at < len(w) {
			n[i] = w[at] >> shift
		}
		if shift > 64-DigitBits && at+1 < len(w) {
			n[i] |= w[at+1] << (64 - shift)
		}
		n[i] &= digitMask
	}
	return n
}

// Words returns a number that is less than 2^1024.
func (n *Digits) Words() (w Number) {
	for i := range w {
		bit := i * 64
		at, shift := bit/DigitBits, bit%DigitBits
		w[i] = n[at]>>shift | n[at+1]<<(DigitBits-shift)
		if 2*DigitBits-shift < 64 {
			w[i] |= n[at+2] << (2*DigitBits - shift)
		}
	}
	return w
}

// Add adds b. The sum must be less than 2^1040.
func (n *Digits) Add(b *Digits) {
	var carry uint64
	for i := range n {
		sum := n[i] + b[i] + carry
		n[i], carry = sum&digitMask, sum>>DigitBits
	}
}

// Sub subtracts b and returns 1 if that is less than nothing, else 0.
func (n *Digits) Sub(b *Digits) (borrow uint64) {
	for i := range n {
		diff := n[i] - b[i] - borrow
		n[i], borrow = diff&digitMask, diff>>63
	}
	return borrow
}

// Once subtracts m unless n is less.
func (n *Digits) Once(m *Digits) {
	less := *n
	keep := -less.Sub(m) // all ones if n < m
	for i := range n {
		n[i] = n[i]&keep | less[i]&^keep
	}
}
