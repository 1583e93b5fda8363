// SPDX-License-Identifier: Apache-2.0

package ifma

import (
	"fmt"
	"io"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
)

const (
	// BatchSize is how many ciphertexts a Batch opens at once.
	BatchSize = 4
	// BatchWorth is from how many ciphertexts on a Batch takes less time than opening one after the other.
	BatchWorth = 2

	batchWindow  = 4
	batchWindows = crt.Factor / batchWindow

	batchPauseEvery = 16 // windows of 1.2 to 2 µs
)

// vector is a digit of eight numbers: lane i has the one modulo the first factor of key i, lane i+4 the one
// modulo the second.
type vector [2 * BatchSize]uint64

// lanes is eight numbers. Of a digit the bits above 52 do not count.
type lanes [digits]vector

// moduli is eight moduli, and -1/m modulo 2^52 of each.
type moduli struct {
	m  lanes
	k0 vector
}

// powers is x^0 to x^15, one digit of all of them after the other.
type powers [digits][1 << batchWindow]vector

// Batch opens ciphertexts side by side. It is working memory, for one goroutine at a time. It formats as a
// placeholder.
type Batch struct {
	m     moduli
	bits  [crt.Factor / 8]uint64 // a byte for each bit of the exponents, in it a bit for each lane
	x     lanes
	t, by lanes // what is multiplied at the moment
	table powers
	wide  [2 * digits]vector // see sqr8
}

// NewBatch makes the memory. It is on the heap, where what is so large begins at a multiple of 64 bytes: no
// vector is then in two lines of the cache, which would cost a fifteenth of the time.
//
//go:noinline
func NewBatch() *Batch { return new(Batch) }

// Format writes a placeholder, whatever the verb.
func (*Batch) Format(f fmt.State, _ rune) { io.WriteString(f, "[batch]") }

func (l *lanes) set(lane int, n *number) {
	for i, d := range n {
		l[i][lane] = d
	}
}

func (l *lanes) get(lane int) (n number) {
	for i := range n {
		n[i] = l[i][lane] & digitMask
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

// Decrypt replaces each ciphertext c by c^d modulo n of its key, as [Key.Decrypt] does. There are BatchSize at
// most. A lane that is not used computes with zeros, and nobody reads it. Nothing is left in the batch.
// It calls pause as that does.
func (b *Batch) Decrypt(keys []*Key, ciphertexts [][]byte, pause func()) {
	b.prepare(keys)
	b.reduce(keys, ciphertexts)
	b.power(keys, pause)
	b.combine(keys, ciphertexts)
	*b = Batch{} // keys and plaintexts could be told from it
	wipe()
}

func (b *Batch) prepare(keys []*Key) {
	clear(b.bits[:])
	for i, k := range keys {
		b.m.k0[i], b.m.k0[i+BatchSize] = k.k0[0], k.k0[1]
		for j, bits := range k.bits {
			b.bits[j] |= bits << i
		}
	}
	fill(&b.m.m, keys, keyM)
}

// fill sets the lanes to a number of each key.
func fill(l *lanes, keys []*Key, of func(*Key) *pair) {
	for i, k := range keys {
		n := of(k)
		l.set(i, &n[0])
		l.set(i+BatchSize, &n[1])
	}
}

func keyM(k *Key) *pair    { return &k.m }
func keyLow(k *Key) *pair  { return &k.low }
func keyHigh(k *Key) *pair { return &k.high }
func keyQInv(k *Key) *pair { return &k.qInv }

func (b *Batch) multiply(out, x, y *lanes)  { amm8(out, x, y, &b.m) }
func (b *Batch) square(x *lanes, times int) { sqr8(x, &b.m, &b.wide, times) }

// reduce sets x to c·2^1040 modulo each factor, less than 3 times the factor.
func (b *Batch) reduce(keys []*Key, ciphertexts [][]byte) {
	for i, c := range ciphertexts {
		high, low := crt.DigitsFromBytes(c[:crt.Size/2]), crt.DigitsFromBytes(c[crt.Size/2:crt.Size])
		for _, lane := range [2]int{i, i + BatchSize} {
			b.x.set(lane, &high)
			b.t.set(lane, &low)
		}
	}
	fill(&b.by, keys, keyHigh)
	b.multiply(&b.x, &b.x, &b.by)
	fill(&b.by, keys, keyLow)
	b.multiply(&b.t, &b.t, &b.by)
	b.x.add(&b.t)
}

// add adds y. The sums must be less than 2^1040.
func (l *lanes) add(y *lanes) {
	var carry vector
	for i := range l {
		for j := range l[i] {
			sum := l[i][j]&digitMask + y[i][j]&digitMask + carry[j]
			l[i][j], carry[j] = sum, sum>>digitBits
		}
	}
}

var ones = lanes{{1, 1, 1, 1, 1, 1, 1, 1}}

// power raises x, times 2^1040, to the private exponents.
func (b *Batch) power(keys []*Key, pause func()) {
	// x^0 and x^1, then each from its half or the one before.
	fill(&b.t, keys, keyLow)
	b.multiply(&b.t, &b.t, &ones)
	b.table.set(0, &b.t)
	b.table.set(1, &b.x)
	for i := 2; i < 1<<batchWindow; i += 2 {
		b.by = b.table.get(i / 2)
		b.square(&b.by, 1)
		b.table.set(i, &b.by)
		b.multiply(&b.by, &b.by, &b.x)
		b.table.set(i+1, &b.by)
	}
	b.x = b.t // x^0
	for i := batchWindows - 1; i >= 0; i-- {
		if pause != nil && i%batchPauseEvery == 0 {
			wipe()
			pause()
		}
		if i < batchWindows-1 {
			b.square(&b.x, batchWindow)
		}
		amm8pick(&b.x, &b.table, uint32(b.bits[i/2]>>(i%2*32)), &b.m)
	}
	b.multiply(&b.x, &b.x, &ones) // at most m
}

// combine ends each operation by itself, but for one multiplication.
func (b *Batch) combine(keys []*Key, out [][]byte) {
	var mq [BatchSize]number
	for i, k := range keys {
		mp := b.x.get(i)
		mp.Once(&k.m[0])
		mq[i] = b.x.get(i + BatchSize)
		mq[i].Once(&k.m[1])
		h := k.difference(&mp, &mq[i])
		b.x.set(i, &h)
	}
	fill(&b.by, keys, keyQInv)
	b.multiply(&b.x, &b.x, &b.by)
	for i, k := range keys {
		h := b.x.get(i)
		k.combine(out[i], &h, &mq[i])
	}
}
