// SPDX-License-Identifier: Apache-2.0

// Package avx2 is the private operation of RSA with a key of 2048 bits, for processors that multiply and add floating-point
// numbers side by side (AVX2, FMA), two ciphertexts at once. On AMD's Zen 3 it takes a quarter of the time that crypto/rsa does,
// half of it where one is alone, and as crypto/rsa's its instructions and its memory accesses depend on no secret: neither on the
// key nor on what comes out. Nor does the time of the instructions, as far as is known: no floating-point number is a fraction, or
// so small that it takes another time, and the flags of what was rounded are set before.
package avx2

import (
	"fmt"
	"io"
	"math/big"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
)

const (
	digits    = 20
	digitBits = 52
	digitMask = 1<<digitBits - 1

	// blockDigits is how many digits of a product one step of its reduction takes.
	blockDigits = 4
)

// number is in digits of 52 bits, the lowest first: what a floating-point number has. The highest has what is above the
// others, too.
type number [digits]int64

// pair is a number modulo each of the two factors.
type pair [2]number

// block is a number modulo 2^208.
type block [blockDigits]int64

// Key is a private key made ready. It is safe for concurrent use. It formats as a placeholder.
type Key struct {
	m       pair     // p and q
	shifted pair     // (m·k0 + 1)/2^208, see moduli
	k0      [2]block // -1/m modulo 2^208
	low     pair     // 2^2080 modulo m
	high    pair     // 2^3104 modulo m
	exp     [2]crt.Number
	qInv    pair // 1/q modulo p, times 2^1040, and 0
	q       crt.Number
}

// New makes a key ready from its factors p and q, and d modulo p-1 and q-1. It returns nil if this processor or
// this package cannot do with it; whether the numbers fit each other is the caller's to know.
func New(p, q, dp, dq *big.Int) *Key {
	if !supported || !crt.Fits(p, q, dp, dq) {
		return nil
	}
	inverse := new(big.Int).ModInverse(q, p)
	if inverse == nil {
		return nil
	}
	k := &Key{exp: [2]crt.Number{crt.FromBig(dp), crt.FromBig(dq)}, q: crt.FromBig(q)}
	for i, m := range []*big.Int{p, q} {
		k.m[i] = toNumber(m)
		k0 := toNumber(negInverse(m))
		k.k0[i] = block(k0[:blockDigits])
		k.shifted[i] = toNumber(shifted(m))
		k.low[i] = powerOfTwo(2*digits*digitBits, m)
		k.high[i] = powerOfTwo(2*digits*digitBits+crt.Factor, m)
	}
	inverse.Lsh(inverse, digits*digitBits)
	k.qInv[0] = toNumber(inverse.Mod(inverse, p))
	return k
}

// Format writes a placeholder, whatever the verb.
func (*Key) Format(f fmt.State, _ rune) { io.WriteString(f, "[key]") }

func toNumber(v *big.Int) number {
	n := crt.FromBig(v)
	return fromWords(&n)
}

func powerOfTwo(n uint, m *big.Int) number {
	v := new(big.Int).Lsh(big.NewInt(1), n)
	return toNumber(v.Mod(v, m))
}

// negInverse returns -1/m modulo 2^208.
func negInverse(m *big.Int) *big.Int {
	r := new(big.Int).Lsh(big.NewInt(1), blockDigits*digitBits)
	return r.Sub(r, new(big.Int).ModInverse(m, r))
}

// shifted returns the multiple of m that ends in 208 ones, and 1, divided by 2^208.
func shifted(m *big.Int) *big.Int {
	v := new(big.Int).Mul(m, negInverse(m))
	return v.Add(v, big.NewInt(1)).Rsh(v, blockDigits*digitBits)
}

func fromWords(w *crt.Number) (n number) {
	for i := range n {
		bit := i * digitBits
		at, shift := bit/64, bit%64
		d := w[at] >> shift
		if shift > 64-digitBits && at+1 < len(w) {
			d |= w[at+1] << (64 - shift)
		}
		n[i] = int64(d & digitMask)
	}
	return n
}

// toWords takes a plain number.
func (n *number) toWords() (w crt.Number) {
	for i, d := range n {
		bit := i * digitBits
		at, shift := bit/64, bit%64
		w[at] |= uint64(d) << shift
		if shift > 64-digitBits && at+1 < len(w) {
			w[at+1] |= uint64(d) >> (64 - shift)
		}
	}
	return w
}

// plain carries until all digits are from 0 to 2^52-1, but for the highest: that is negative if the number is.
func (n *number) plain() {
	for i := range digits - 1 {
		n[i+1] += n[i] >> digitBits
		n[i] &= digitMask
	}
}

// once subtracts m unless n is less. n becomes plain.
func (n *number) once(m *number) {
	n.plain()
	less := *n
	for i := range less {
		less[i] -= m[i]
	}
	less.plain()
	keep := less[digits-1] >> 63 // all ones if n < m
	for i := range n {
		n[i] = n[i]&keep | less[i]&^keep
	}
}
