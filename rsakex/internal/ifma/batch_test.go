// SPDX-License-Identifier: Apache-2.0

package ifma

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
	"github.com/sightglass/sightglass/rsakex/internal/crt/crttest"
)

// testKeys returns a key for each place of a batch.
func testKeys(t testing.TB) (rs []*rsa.PrivateKey, ks []*Key) {
	t.Helper()
	rs = crttest.Keys(t, BatchSize)
	for _, r := range rs {
		ks = append(ks, newKey(t, r))
	}
	return rs, ks
}

// TestBatch: batches of each size, of unlike keys in any order, give what arithmetic gives.
func TestBatch(t *testing.T) {
	rs, ks := testKeys(t)
	var cs [BatchSize][]*big.Int
	for i, r := range rs {
		cs[i] = crttest.Edges(t, r, 8)
	}
	rng := mathrand.New(mathrand.NewPCG(5, 6))
	b := NewBatch()
	for round := range 40 {
		size := 1 + round%BatchSize
		keys, c, want := make([]*Key, size), make([][]byte, size), make([][]byte, size)
		for i := range size {
			at := rng.IntN(BatchSize)
			v := cs[at][(round+i)%len(cs[at])]
			keys[i] = ks[at]
			c[i] = v.FillBytes(make([]byte, crt.Size))
			want[i] = new(big.Int).Exp(v, rs[at].D, rs[at].N).FillBytes(make([]byte, crt.Size))
		}
		b.Decrypt(keys, c, nil)
		for i := range c {
			if !bytes.Equal(c[i], want[i]) {
				t.Fatalf("round %d, place %d: %x, want %x", round, i, c[i], want[i])
			}
		}
		if *b != (Batch{}) {
			t.Fatalf("round %d: something is left in the batch", round)
		}
	}
}

// FuzzDecrypt: what comes out, alone and amid others, is what the public exponent takes back to the ciphertext.
func FuzzDecrypt(f *testing.F) {
	rs, ks := testKeys(f)
	for _, c := range [][]byte{{}, {1}, bytes.Repeat([]byte{0xff}, crt.Size), rs[0].N.Bytes(), rs[1].Primes[0].Bytes()} {
		f.Add(c, uint8(len(c)))
	}
	b := NewBatch()
	f.Fuzz(func(t *testing.T, sealed []byte, size uint8) {
		n := 1 + int(size)%BatchSize
		var cs [BatchSize][]byte
		var want [BatchSize]*big.Int
		for i := range n {
			want[i] = new(big.Int).SetBytes(sealed[:min(len(sealed), crt.Size)])
			want[i].Add(want[i], big.NewInt(int64(i))).Mod(want[i], rs[i].N)
			cs[i] = want[i].FillBytes(make([]byte, crt.Size))
		}
		alone := make([]byte, crt.Size)
		ks[0].Decrypt(alone, cs[0], nil)
		b.Decrypt(ks[:n], cs[:n], nil)
		if !bytes.Equal(alone, cs[0]) {
			t.Errorf("%x alone is %x, and amid others %x", want[0], alone, cs[0])
		}
		for i := range n {
			opened := new(big.Int).SetBytes(cs[i])
			if opened.Cmp(rs[i].N) >= 0 || opened.Exp(opened, big.NewInt(int64(rs[i].E)), rs[i].N).Cmp(want[i]) != 0 {
				t.Errorf("place %d: %x opens to %x", i, want[i], cs[i])
			}
		}
	})
}

// laneTest has moduli for each lane, and checks products.
type laneTest struct {
	Batch
	moduli, inverse [2 * BatchSize]*big.Int
}

// newLaneTest takes the factors of keys, and the least and the greatest modulus that could be.
func newLaneTest(t *testing.T) *laneTest {
	rs, ks := testKeys(t)
	l := new(laneTest)
	l.prepare(ks)
	for i, r := range rs {
		l.moduli[i], l.moduli[i+BatchSize] = r.Primes[0], r.Primes[1]
	}
	least, greatest := new(big.Int).Lsh(big.NewInt(1), crt.Factor-1), new(big.Int).Lsh(big.NewInt(1), crt.Factor)
	l.moduli[3], l.moduli[7] = least.SetBit(least, 0, 1), greatest.Sub(greatest, big.NewInt(1))
	for i, m := range l.moduli {
		n := crt.DigitsFromBig(m)
		l.m.m.set(i, &n)
		l.m.k0[i] = negInverse(n[0]) & digitMask
		shift := new(big.Int).Lsh(big.NewInt(1), digits*digitBits)
		l.inverse[i] = shift.ModInverse(shift, m)
	}
	return l
}

// check is TestMultiply's, in each lane.
func (l *laneTest) check(t *testing.T, got, x, y *lanes) {
	t.Helper()
	for i, m := range l.moduli {
		a, b, out := x.get(i), y.get(i), got.get(i)
		product := new(big.Int).Mul(crttest.Big(&a), crttest.Big(&b))
		want := new(big.Int).Mul(product, l.inverse[i])
		v := crttest.Big(&out)
		if want.Sub(want, v).Mod(want, m).Sign() != 0 {
			t.Fatalf("lane %d: a %x b %x: %x is not congruent", i, a, b, out)
		}
		bound := product.Rsh(product, digits*digitBits)
		if v.Cmp(bound.Add(bound, m)) > 0 {
			t.Fatalf("lane %d: a %x b %x: %x is too large", i, a, b, out)
		}
	}
}

func oddLanes(rng *mathrand.Rand) (l lanes) {
	for i := range 2 * BatchSize {
		n := oddNumber(rng)
		l.set(i, &n)
	}
	return l
}

// TestMultiplyLanes: products and squares are congruent and bounded, also of the largest and oddest numbers; a
// product by a power from the table is by the power that each lane asked for.
func TestMultiplyLanes(t *testing.T) {
	l := newLaneTest(t)
	rng := mathrand.New(mathrand.NewPCG(7, 8))
	for range 500 {
		x, y := oddLanes(rng), oddLanes(rng)
		var got lanes
		l.multiply(&got, &x, &y)
		l.check(t, &got, &x, &y)

		got = x
		l.square(&got, 1)
		l.check(t, &got, &x, &x)
		again := x
		l.square(&again, 2)
		l.check(t, &again, &got, &got)

		for i := range 1 << batchWindow {
			power := oddLanes(rng)
			l.table.set(i, &power)
		}
		which := rng.Uint32()
		for lane := range 2 * BatchSize {
			i := 0
			for bit := range batchWindow {
				i |= int(which>>(8*bit+lane)&1) << bit
			}
			power := l.table.get(i)
			n := power.get(lane)
			y.set(lane, &n)
		}
		got = x
		amm8pick(&got, &l.table, which, &l.m)
		l.check(t, &got, &x, &y)
	}
}

func TestBatchIsAligned(t *testing.T) {
	if at := uintptr(unsafe.Pointer(NewBatch())); at%64 != 0 {
		t.Errorf("a batch is at %#x", at)
	}
	if at := unsafe.Offsetof(moduli{}.k0); at != 1280 {
		t.Errorf("k0 is at %d: the assembly has 1280", at)
	}
}

func TestBatchIsRedacted(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
		if s := fmt.Sprintf(verb, NewBatch()); !strings.HasPrefix(s, "[") || len(s) > 10 {
			t.Errorf("%s: %.40s", verb, s)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	_, ks := testKeys(b)
	batch := NewBatch()
	c := make([][]byte, BatchSize)
	for i := range c {
		c[i] = make([]byte, crt.Size)
		rand.Read(c[i][1:])
	}
	for b.Loop() {
		batch.Decrypt(ks, c, nil)
		for i := range c {
			c[i][0] = 0
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BatchSize, "ns/private")
}

func BenchmarkLanes(b *testing.B) {
	_, ks := testKeys(b)
	l := NewBatch()
	l.prepare(ks)
	for name, f := range map[string]func(){
		"multiply": func() { l.multiply(&l.x, &l.x, &l.x) },
		"pick":     func() { amm8pick(&l.x, &l.table, 0, &l.m) },
		"square":   func() { l.square(&l.x, batchWindow) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
	}
}
