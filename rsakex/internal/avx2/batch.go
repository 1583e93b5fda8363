// SPDX-License-Identifier: Apache-2.0

package avx2

import (
	"fmt"
	"io"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
)

const (
	// BatchSize is how many ciphertexts a Batch opens at once.
	BatchSize = 2

	window  = 4 // bits of the exponent that one multiplication takes
	windows = crt.Factor / window

	pauseEvery = 4 // windows of 2 µs: more at a time makes the peers of a box that is at half load wait
)

// vector is a digit of four numbers: lane i has the one modulo the first factor of key i, lane i+2 the one modulo the
// second.
type vector [2 * BatchSize]float64

// integers is what a vector is in the middle of a multiplication.
type integers [2 * BatchSize]int64

// lanes is four numbers.
type lanes [digits]vector

// moduli is four moduli.
type moduli struct {
	// (m·k0 + 1)/2^208. As m·k0 ends in 208 ones, so many of it as the lowest four digits of a product say make that a
	// multiple of 2^208: no quotient is to be computed, and the digits just fall away.
	shifted lanes
	m       lanes
	k0      [blockDigits]vector // -1/m modulo 2^208
}

// sums is what a multiplication works with.
type sums struct {
	columns   [2 * digits]integers
	quotients [blockDigits]vector // the next
	carry     integers            // from the columns that they were made of
	kept      [blockDigits]vector // quotients, while others are made
}

// powers is x^0 to x^15, one digit of all of them after the other.
type powers [digits][1 << window]vector

// Batch opens ciphertexts side by side. It is working memory, for one goroutine at a time. It formats as a
// placeholder.
type Batch struct {
	m     moduli
	sums  sums
	exp   [2 * BatchSize]crt.Number
	which integers
	x     lanes
	t, by lanes // what is multiplied at the moment
	table powers
}

// NewBatch makes the memory. It is on the heap, where what is so large begins at a multiple of 64 bytes: no
// vector is then in two lines of the cache.
//
//go:noinline
func NewBatch() *Batch { return new(Batch) }

// Format writes a placeholder, whatever the verb.
func (*Batch) Format(f fmt.State, _ rune) { io.WriteString(f, "[batch]") }

func (l *lanes) set(lane int, n *number) {
	for i, d := range n {
		l[i][lane] = float64(int64(d))
	}
}

func (l *lanes) get(lane int) (n number) {
	for i := range n {
		n[i] = uint64(int64(l[i][lane]))
	}
	return n
}

func (p *powers) set(i int, x *lanes) {
	for j := range x {
		p[j][i] = x[j]
	}
}

func (p *powers) get(i int) (x lanes) {
	for j := range x {
		x[j] = p[j][i]
	}
	return x
}

// Decrypt replaces each ciphertext c, big-endian and less than n, by c^d modulo n of its key. There are BatchSize at
// most, of [crt.Size] bytes. A lane that is not used computes with zeros, and nobody reads it. Nothing is left in
// the batch. It calls pause, unless that is nil, every 8 µs: always as often.
func (b *Batch) Decrypt(keys []*Key, ciphertexts [][]byte, pause func()) {
	b.prepare(keys)
	b.reduce(keys, ciphertexts)
	b.power(keys, pause)
	b.combine(keys, ciphertexts)
	*b = Batch{} // keys and plaintexts could be told from it
	wipe()
}

func (b *Batch) prepare(keys []*Key) {
	for i, k := range keys {
		for j, lane := range [2]int{i, i + BatchSize} {
			b.setModulus(lane, &k.m[j], &k.shifted[j], &k.k0[j])
			b.exp[lane] = k.exp[j]
		}
	}
}

func (b *Batch) setModulus(lane int, m, shifted *number, k0 *block) {
	b.m.m.set(lane, m)
	b.m.shifted.set(lane, shifted)
	for i, d := range k0 {
		b.m.k0[i][lane] = float64(int64(d))
	}
}

// fill sets the lanes to a number of each key.
func fill(l *lanes, keys []*Key, of func(*Key) *pair) {
	for i, k := range keys {
		n := of(k)
		l.set(i, &n[0])
		l.set(i+BatchSize, &n[1])
	}
}

func keyLow(k *Key) *pair  { return &k.low }
func keyHigh(k *Key) *pair { return &k.high }
func keyQInv(k *Key) *pair { return &k.qInv }

func (b *Batch) multiply(out, x, y *lanes)  { mul4(out, x, y, &b.m, &b.sums, &consts) }
func (b *Batch) square(x *lanes, times int) { sqr4(x, &b.m, &b.sums, &consts, times) }

// reduce sets x to c·2^1040 modulo each factor, less than 5 times the factor.
func (b *Batch) reduce(keys []*Key, ciphertexts [][]byte) {
	for i, c := range ciphertexts {
		x, t := crt.DigitsFromBytes(c[:crt.Size/2]), crt.DigitsFromBytes(c[crt.Size/2:crt.Size])
		for _, lane := range [2]int{i, i + BatchSize} {
			b.x.set(lane, &x)
			b.t.set(lane, &t)
		}
	}
	fill(&b.by, keys, keyHigh)
	b.multiply(&b.x, &b.x, &b.by)
	fill(&b.by, keys, keyLow)
	b.multiply(&b.t, &b.t, &b.by)
	for lane := range 2 * BatchSize {
		x, t := b.x.get(lane), b.t.get(lane)
		x.Add(&t)
		b.x.set(lane, &x)
	}
}

var ones = lanes{{1, 1, 1, 1}}

// power raises x, times 2^1040, to the private exponents.
func (b *Batch) power(keys []*Key, pause func()) {
	// x^0 and x^1, then each from its half or the one before.
	fill(&b.t, keys, keyLow)
	b.multiply(&b.t, &b.t, &ones)
	b.table.set(0, &b.t)
	b.table.set(1, &b.x)
	for i := 2; i < 1<<window; i += 2 {
		b.by = b.table.get(i / 2)
		b.square(&b.by, 1)
		b.table.set(i, &b.by)
		b.multiply(&b.by, &b.by, &b.x)
		b.table.set(i+1, &b.by)
	}
	b.pick(windows - 1)
	b.x = b.by
	for i := windows - 2; i >= 0; i-- {
		if pause != nil && i%pauseEvery == 0 {
			wipe()
			pause()
		}
		b.square(&b.x, window)
		b.pick(i)
		b.multiply(&b.x, &b.x, &b.by)
	}
	b.multiply(&b.x, &b.x, &ones) // less than twice the factor
}

// pick sets by to the powers that a window of the exponents asks for.
func (b *Batch) pick(at int) {
	bit := at * window
	for lane := range b.exp {
		b.which[lane] = int64(b.exp[lane][bit/64] >> (bit % 64) & (1<<window - 1))
	}
	pick4(&b.by, &b.table, &b.which, &consts)
}

// combine ends each operation by itself, but for one multiplication.
func (b *Batch) combine(keys []*Key, out [][]byte) {
	var mq [BatchSize]number
	for i, k := range keys {
		mp := b.x.get(i)
		mp.Once(&k.m[0])
		mq[i] = b.x.get(i + BatchSize)
		mq[i].Once(&k.m[1])
		mp.Add(&k.m[0]) // so that it is not less: q is less than 2p
		mp.Add(&k.m[0])
		mp.Sub(&mq[i])
		b.x.set(i, &mp)
	}
	fill(&b.by, keys, keyQInv)
	b.multiply(&b.x, &b.x, &b.by)
	for i, k := range keys {
		h := b.x.get(i)
		h.Once(&k.m[0]) // it was less than three times as much
		h.Once(&k.m[0])
		a, low := h.Words(), mq[i].Words()
		crt.Combine(out[i], &a, &low, &k.q)
	}
}
