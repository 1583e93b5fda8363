// SPDX-License-Identifier: Apache-2.0

// Package ifma is the private operation of RSA with a key of 2048 bits, for processors that multiply 52-bit
// digits side by side (AVX-512 IFMA). It takes a quarter of the time that crypto/rsa does, an eighth where four
// wait, and as crypto/rsa's its time and its memory accesses depend on no secret: neither on the key nor on what
// comes out.
package ifma

import (
	"fmt"
	"io"
	"math/big"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
)

const (
	digits    = crt.DigitCount
	digitBits = crt.DigitBits
	digitMask = 1<<digitBits - 1
	window    = 5 // bits of the exponent that one multiplication takes
	windows   = (crt.Factor + window - 1) / window

	pauseEvery = 32 // windows of 1.1 µs
)

type number = crt.Digits

// pair is a number modulo each of the two factors.
type pair [2]number

// Key is a private key made ready. It is safe for concurrent use. It formats as a placeholder.
type Key struct {
	m    pair      // p and q
	k0   [2]uint64 // -1/m modulo 2^52
	low  pair      // 2^2080 modulo m
	high pair      // 2^3104 modulo m
	exp  [2][windows]uint8
	bits [crt.Factor / 8]uint64 // the exponents' bits, see Batch
	qInv pair                   // 1/q modulo p, times 2^1040, and 0
	q    crt.Number
	p2   number // 2p
}

// Supported reports whether this processor, and the system under it, can do what the package does.
func Supported() bool { return supported }

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
	k := &Key{}
	for i, m := range []*big.Int{p, q} {
		k.m[i] = crt.DigitsFromBig(m)
		k.k0[i] = negInverse(k.m[i][0]) & digitMask
		k.low[i] = crt.PowerOfTwo(2*digits*digitBits, m)
		k.high[i] = crt.PowerOfTwo(2*digits*digitBits+crt.Factor, m)
	}
	k.exp = [2][windows]uint8{exponent(dp), exponent(dq)}
	k.bits = exponentBits(dp, dq)
	inverse.Lsh(inverse, digits*digitBits)
	k.qInv[0] = crt.DigitsFromBig(inverse.Mod(inverse, p))
	k.p2 = crt.DigitsFromBig(new(big.Int).Lsh(p, 1))
	k.q = crt.FromBig(q)
	return k
}

// Format writes a placeholder, whatever the verb.
func (*Key) Format(f fmt.State, _ rune) { io.WriteString(f, "[key]") }

// negInverse returns -1/m modulo 2^64, by Newton's iteration: each step doubles the bits that are right.
func negInverse(m uint64) uint64 {
	x := m // right to 3 bits
	for range 5 {
		x *= 2 - m*x
	}
	return -x
}

// exponent cuts an exponent into windows, the highest first.
func exponent(d *big.Int) (w [windows]uint8) {
	for i := range w {
		for j := range window {
			w[windows-1-i] |= uint8(d.Bit(i*window+j)) << j
		}
	}
	return w
}

// exponentBits sets a bit a byte, the lowest first: bit 0 for dp, bit 4 for dq.
func exponentBits(dp, dq *big.Int) (w [crt.Factor / 8]uint64) {
	for i := range crt.Factor {
		w[i/8] |= uint64(dp.Bit(i)|dq.Bit(i)<<4) << (i % 8 * 8)
	}
	return w
}

// Decrypt sets out to c^d modulo n, big-endian. Both are [crt.Size] bytes; c must be less than n. It calls pause, unless that
// is nil, every 20 to 40 µs: always as often.
func (k *Key) Decrypt(out, c []byte, pause func()) {
	_ = out[crt.Size-1]
	x := k.reduce(c[:crt.Size])
	x = k.power(&x, pause)
	h := pair{k.difference(&x[0], &x[1])}
	amm2(&h, &h, &k.qInv, &k.m, &k.k0)
	k.combine(out, &h[0], &x[1])
	wipe()
}

// reduce returns c·2^1040 modulo each factor, less than 3 times the factor.
func (k *Key) reduce(c []byte) pair {
	high, low := crt.DigitsFromBytes(c[:crt.Size/2]), crt.DigitsFromBytes(c[crt.Size/2:])
	a, b := pair{high, high}, pair{low, low}
	amm2(&a, &a, &k.high, &k.m, &k.k0)
	amm2(&b, &b, &k.low, &k.m, &k.k0)
	for i := range a {
		a[i].Add(&b[i])
	}
	return a
}

var one = pair{{1}, {1}}

// power raises x, times 2^1040, to the private exponents.
func (k *Key) power(x *pair, pause func()) pair {
	var table [1 << window]pair
	// x^0 and x^1, then each from its half or the one before.
	amm2(&table[0], &one, &k.low, &k.m, &k.k0)
	table[1] = *x
	for i := 2; i < len(table); i += 2 {
		amm2(&table[i], &table[i/2], &table[i/2], &k.m, &k.k0)
		amm2(&table[i+1], &table[i], x, &k.m, &k.k0)
	}
	var acc, taken pair
	gather(&acc, &table, uint64(k.exp[0][0]), uint64(k.exp[1][0]))
	for i := 1; i < windows; i++ {
		if pause != nil && i%pauseEvery == 0 {
			wipe()
			pause()
		}
		for range window {
			amm2(&acc, &acc, &acc, &k.m, &k.k0)
		}
		gather(&taken, &table, uint64(k.exp[0][i]), uint64(k.exp[1][i]))
		amm2(&acc, &acc, &taken, &k.m, &k.k0)
	}
	amm2(&acc, &acc, &one, &k.m, &k.k0) // at most m
	for i := range acc {
		acc[i].Once(&k.m[i])
	}
	clear(table[:]) // the stack may be somebody else's next
	return acc
}

// difference returns mp - mq, or that and 2p: q is less than 2p.
func (k *Key) difference(mp, mq *number) number {
	d := *mp
	d.Add(&k.p2)
	d.Sub(mq)
	return d
}

// combine makes one number of h, which is (mp - mq)/q modulo p, or that and p, and of mq.
func (k *Key) combine(out []byte, h, mq *number) {
	h.Once(&k.m[0])
	a, low := h.Words(), mq.Words()
	crt.Combine(out, &a, &low, &k.q)
}
