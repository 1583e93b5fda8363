// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"math/big"
	"math/bits"
	"slices"
)

// manyPrimes is an RSA key that is no secret: a modulus of 2,048 bits, of so many primes of a word each that
// the private operation takes some 20 µs. It is the key of the server behind a program that terminates. That
// program does what it would for any other, and the server's own share is not measured.
type manyPrimes struct {
	primes  []uint64
	d       []uint64   // the private exponent, modulo each prime less one
	inverse [][]uint64 // of an earlier prime, modulo a later one
}

const (
	manyPrimesCount = 32
	manyPrimesSize  = manyPrimesCount * 8 // bytes of the modulus
	publicExponent  = 65537
)

// newPrimes returns different primes whose product has all its bits.
func newPrimes() (primes []uint64) {
	for len(primes) < manyPrimesCount {
		var b [8]byte
		rand.Read(b[:])
		p := binary.BigEndian.Uint64(b[:]) | 0xfc<<56 | 1
		if p%publicExponent != 1 && !slices.Contains(primes, p) && new(big.Int).SetUint64(p).ProbablyPrime(20) {
			primes = append(primes, p)
		}
	}
	return primes
}

func newManyPrimes(primes []uint64) *manyPrimes {
	k := &manyPrimes{primes: primes}
	word := func(n uint64) *big.Int { return new(big.Int).SetUint64(n) }
	for i, p := range primes {
		k.d = append(k.d, new(big.Int).ModInverse(big.NewInt(publicExponent), word(p-1)).Uint64())
		var row []uint64
		for _, before := range primes[:i] {
			row = append(row, new(big.Int).ModInverse(word(before), word(p)).Uint64())
		}
		k.inverse = append(k.inverse, row)
	}
	return k
}

func (k *manyPrimes) public() *rsa.PublicKey {
	n := big.NewInt(1)
	for _, p := range k.primes {
		n.Mul(n, new(big.Int).SetUint64(p))
	}
	return &rsa.PublicKey{N: n, E: publicExponent}
}

// premaster opens a premaster secret (RFC 8017, Section 7.2.2). It need not hide how.
func (k *manyPrimes) premaster(sealed []byte) ([]byte, error) {
	if len(sealed) != manyPrimesSize {
		return nil, errors.New("the encrypted premaster secret has the wrong length")
	}
	em := k.decrypt(sealed)
	secret := em[manyPrimesSize-48:]
	if em[0] != 0 || em[1] != 2 || em[manyPrimesSize-49] != 0 {
		return nil, errors.New("the premaster secret's padding is wrong")
	}
	return secret, nil
}

// decrypt is the private operation: one for each prime, put together as Garner does.
func (k *manyPrimes) decrypt(c []byte) []byte {
	var digits [manyPrimesCount]uint64 // in the mixed radix of the primes
	for i, p := range k.primes {
		var r uint64
		for at := 0; at < len(c); at += 8 {
			r = rem(r, binary.BigEndian.Uint64(c[at:]), p)
		}
		x := power(r, k.d[i], p)
		for j, inverse := range k.inverse[i] {
			y := digits[j] % p
			if x < y {
				y -= p // the difference wraps, too
			}
			x = mulMod(x-y, inverse, p)
		}
		digits[i] = x
	}
	var words [manyPrimesCount]uint64 // the least first
	for i, digit := range slices.Backward(digits[:]) {
		carry := digit
		for j, w := range words {
			hi, lo := bits.Mul64(w, k.primes[i])
			var c uint64
			words[j], c = bits.Add64(lo, carry, 0)
			carry = hi + c
		}
	}
	m := make([]byte, 0, manyPrimesSize)
	for _, w := range slices.Backward(words[:]) {
		m = binary.BigEndian.AppendUint64(m, w)
	}
	return m
}

// rem returns hi·2⁶⁴+lo modulo p. hi is less than p.
func rem(hi, lo, p uint64) uint64 {
	_, r := bits.Div64(hi, lo, p)
	return r
}

func mulMod(a, b, p uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return rem(hi, lo, p)
}

func power(base, exponent, p uint64) uint64 {
	result := uint64(1)
	for ; exponent > 0; exponent >>= 1 {
		if exponent&1 == 1 {
			result = mulMod(result, base, p)
		}
		base = mulMod(base, base, p)
	}
	return result
}
