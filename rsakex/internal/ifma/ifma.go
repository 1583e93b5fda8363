// SPDX-License-Identifier: Apache-2.0

// Package ifma is the private operation of RSA with a key of 2048 bits, for processors that multiply 52-bit
// digits side by side (AVX-512 IFMA). It takes a quarter of the time that crypto/rsa does, an eighth where four
// wait, and as crypto/rsa's its time and its memory accesses depend on no secret: neither on the key nor on what
// comes out.
package ifma

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/big"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
)

const (
	digits    = 20
	digitBits = 52
	digitMask = 1<<digitBits - 1
	window    = 5 // bits of the exponent that one multiplication takes
	windows   = (crt.Factor + window - 1) / window

	pauseEvery = 32 // windows of 1.1 µs
)

// number is less than 2^1040.
type number [digits]uint64

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
		k.m[i] = toNumber(m)
		k.k0[i] = crt.NegInverse(k.m[i][0]) & digitMask
		k.low[i] = powerOfTwo(2*digits*digitBits, m)
		k.high[i] = powerOfTwo(2*digits*digitBits+crt.Factor, m)
	}
	k.exp = [2][windows]uint8{exponent(dp), exponent(dq)}
	k.bits = exponentBits(dp, dq)
	inverse.Lsh(inverse, digits*digitBits)
	k.qInv[0] = toNumber(inverse.Mod(inverse, p))
	k.p2 = toNumber(new(big.Int).Lsh(p, 1))
	k.q = crt.FromBig(q)
	return k
}

// Format writes a placeholder, whatever the verb.
func (*Key) Format(f fmt.State, _ rune) { io.WriteString(f, "[key]") }

func toNumber(v *big.Int) number { return fromBytes(v.FillBytes(make([]byte, crt.Factor/8+8))) }

// fromBytes takes a big-endian number of no more than 17 words.
func fromBytes(b []byte) number {
	var w [crt.Factor/64 + 1]uint64
	for i := range len(b) / 8 {
		w[i] = binary.BigEndian.Uint64(b[len(b)-8*i-8:])
	}
	return fromWords(w[:])
}

func powerOfTwo(n uint, m *big.Int) number {
	v := new(big.Int).Lsh(big.NewInt(1), n)
	return toNumber(v.Mod(v, m))
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

// fromWords and toWords change between 64-bit words and 52-bit digits.
func fromWords(w []uint64) (n number) {
	for i := range n {
		bit := i * digitBits
		at, shift := bit/64, bit%64
		if at < len(w) {
			n[i] = w[at] >> shift
		}
		if shift > 64-digitBits && at+1 < len(w) {
			n[i] |= w[at+1] << (64 - shift)
		}
		n[i] &= digitMask
	}
	return n
}

func (n *number) toWords() (w crt.Number) {
	for i := range w {
		bit := i * 64
		at, shift := bit/digitBits, bit%digitBits
		w[i] = n[at]>>shift | n[at+1]<<(digitBits-shift)
		if 2*digitBits-shift < 64 {
			w[i] |= n[at+2] << (2*digitBits - shift)
		}
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
	high, low := fromBytes(c[:crt.Size/2]), fromBytes(c[crt.Size/2:])
	a, b := pair{high, high}, pair{low, low}
	amm2(&a, &a, &k.high, &k.m, &k.k0)
	amm2(&b, &b, &k.low, &k.m, &k.k0)
	for i := range a {
		a[i].add(&b[i])
	}
	return a
}

// add adds b. The sum must be less than 2^1040.
func (n *number) add(b *number) {
	var carry uint64
	for i := range n {
		sum := n[i] + b[i] + carry
		n[i], carry = sum&digitMask, sum>>digitBits
	}
}

// sub subtracts b and returns 1 if that is less than nothing, else 0.
func (n *number) sub(b *number) (borrow uint64) {
	for i := range n {
		diff := n[i] - b[i] - borrow
		n[i], borrow = diff&digitMask, diff>>63
	}
	return borrow
}

// once subtracts m unless n is less.
func (n *number) once(m *number) {
	less := *n
	keep := -less.sub(m) // all ones if n < m
	for i := range n {
		n[i] = n[i]&keep | less[i]&^keep
	}
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
		acc[i].once(&k.m[i])
	}
	clear(table[:]) // the stack may be somebody else's next
	return acc
}

// difference returns mp - mq, or that and 2p: q is less than 2p.
func (k *Key) difference(mp, mq *number) number {
	d := *mp
	d.add(&k.p2)
	d.sub(mq)
	return d
}

// combine makes one number of h, which is (mp - mq)/q modulo p, or that and p, and of mq.
func (k *Key) combine(out []byte, h, mq *number) {
	h.once(&k.m[0])
	a, low := h.toWords(), mq.toWords()
	crt.Combine(out, &a, &low, &k.q)
}
