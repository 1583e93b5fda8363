// SPDX-License-Identifier: Apache-2.0

package avx2

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
	if !supported {
		t.Skip("processor: no AVX2, or no FMA")
	}
	rs = crttest.Keys(t, BatchSize)
	for _, r := range rs {
		k := New(r.Primes[0], r.Primes[1], r.Precomputed.Dp, r.Precomputed.Dq)
		if k == nil {
			t.Fatal("the key was not taken")
		}
		ks = append(ks, k)
	}
	return rs, ks
}

// TestBatch: one ciphertext, and two of unlike keys in either order, give what arithmetic gives.
func TestBatch(t *testing.T) {
	rs, ks := testKeys(t)
	var cs [BatchSize][]*big.Int
	for i, r := range rs {
		cs[i] = crttest.Edges(t, r, 8)
	}
	b := NewBatch()
	for round := range 80 {
		size := 1 + round/2%BatchSize
		keys, c, want := make([]*Key, size), make([][]byte, size), make([][]byte, size)
		for i := range size {
			at := (round + i) % BatchSize
			v := cs[at][(round/4+i)%len(cs[at])]
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

// TestUnlikeFactors: the factors may be as unlike as two of 1024 bits can be, and either the greater.
func TestUnlikeFactors(t *testing.T) {
	testKeys(t)
	least, greatest, one := new(big.Int).Lsh(big.NewInt(1), crt.Factor-1), new(big.Int).Lsh(big.NewInt(1), crt.Factor), big.NewInt(1)
	for least.Add(least, one); !least.ProbablyPrime(20); least.Add(least, one) {
	}
	for greatest.Sub(greatest, one); !greatest.ProbablyPrime(20); greatest.Sub(greatest, one) {
	}
	b := NewBatch()
	for _, f := range [][2]*big.Int{{least, greatest}, {greatest, least}} {
		p, q := f[0], f[1]
		n := new(big.Int).Mul(p, q)
		p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
		d := new(big.Int).ModInverse(big.NewInt(65537), new(big.Int).Mul(p1, q1))
		k := New(p, q, new(big.Int).Mod(d, p1), new(big.Int).Mod(d, q1))
		// 0 modulo p, and -1 modulo q.
		apart := new(big.Int).ModInverse(p, q)
		apart.Sub(q, apart).Mul(apart, p)
		for _, m := range []*big.Int{
			new(big.Int), one, p, q, p1, q1, apart, new(big.Int).Sub(n, apart),
			new(big.Int).Sub(n, one), new(big.Int).Sub(n, p), new(big.Int).Sub(n, q),
		} {
			c := new(big.Int).Exp(m, big.NewInt(65537), n).FillBytes(make([]byte, crt.Size))
			if b.Decrypt([]*Key{k}, [][]byte{c}, nil); new(big.Int).SetBytes(c).Cmp(m) != 0 {
				t.Errorf("p %x: %x, want %x", p, c, m)
			}
		}
	}
}

// half is more than half of what 1 and the next number are apart by.
var half = 0x1.8p-53

// TestRounding: numbers are rounded to the nearest again, after an operation and in its pauses.
func TestRounding(t *testing.T) {
	_, ks := testKeys(t)
	check := func() {
		if one := 1.0; one+half != 1+0x1p-52 {
			t.Fatal("numbers are rounded towards zero")
		}
	}
	b := NewBatch()
	b.multiply(&b.x, &b.x, &b.x)
	check()
	b.square(&b.x, 2)
	check()
	b.Decrypt(ks[:1], [][]byte{make([]byte, crt.Size)}, check)
	check()
}

// TestPauses: an operation pauses as often whatever it opens, alone and amid others.
func TestPauses(t *testing.T) {
	rs, ks := testKeys(t)
	b := NewBatch()
	for _, c := range crttest.Edges(t, rs[0], 2) {
		for n := 1; n <= BatchSize; n++ {
			cs := [][]byte{c.FillBytes(make([]byte, crt.Size)), make([]byte, crt.Size)}
			pauses := 0
			b.Decrypt(ks[:n], cs[:n], func() { pauses++ })
			if pauses != windows/pauseEvery {
				t.Errorf("%x, one of %d: %d pauses", c, n, pauses)
			}
		}
	}
}

// FuzzDecrypt: what comes out, alone and beside another, is what the public exponent takes back to the ciphertext.
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
		b.Decrypt(ks[:n], cs[:n], nil)
		for i := range n {
			opened := new(big.Int).SetBytes(cs[i])
			if opened.Cmp(rs[i].N) >= 0 || opened.Exp(opened, big.NewInt(int64(rs[i].E)), rs[i].N).Cmp(want[i]) != 0 {
				t.Errorf("place %d: %x opens to %x", i, want[i], cs[i])
			}
		}
	})
}

// laneTest has a modulus for each lane, and checks products.
type laneTest struct {
	Batch
	moduli, inverse [2 * BatchSize]*big.Int
}

// newLaneTest takes a factor of a key, the least and the greatest modulus that could be, and one with the greatest sums of
// quotients by digits.
func newLaneTest(t *testing.T) *laneTest {
	rs, _ := testKeys(t)
	least, greatest := new(big.Int).Lsh(big.NewInt(1), crt.Factor-1), new(big.Int).Lsh(big.NewInt(1), crt.Factor)
	l := &laneTest{moduli: [2 * BatchSize]*big.Int{rs[0].Primes[0], heaviest(t),
		least.SetBit(least, 0, 1), greatest.Sub(greatest, big.NewInt(1))}}
	for i, m := range l.moduli {
		k0 := negInverse(m)
		n, s, b := crt.DigitsFromBig(m), crt.DigitsFromBig(shifted(m, k0)), toBlock(k0)
		l.setModulus(i, &n, &s, &b)
		r := new(big.Int).Lsh(big.NewInt(1), digits*digitBits)
		l.inverse[i] = r.ModInverse(r, m)
	}
	return l
}

// heaviest returns a modulus of which nearly all shifted digits are 2^52-1. It is one of those m·k0 + 1 = shifted·2^208 with
// a k0 near 2^208, by which the lowest four digits of shifted are chosen.
func heaviest(t *testing.T) *big.Int {
	t.Helper()
	n := number{digits - 1: 1<<36 - 2} // a little less than 2^1024
	for i := blockDigits; i < digits-1; i++ {
		n[i] = digitMask
	}
	const bits = blockDigits * digitBits
	k0 := new(big.Int).Lsh(big.NewInt(1), bits)
	k0.Sub(k0, big.NewInt(1))
	low := new(big.Int).Lsh(big.NewInt(1), bits)
	low.ModInverse(low, k0).Sub(low, crttest.Big(&n)).Mod(low, k0) // so that shifted·2^208 is 1 modulo k0
	s := low.Add(low, crttest.Big(&n))
	m := new(big.Int).Lsh(s, bits)
	m.Sub(m, big.NewInt(1)).Div(m, k0)
	if got := shifted(m, negInverse(m)); m.BitLen() != crt.Factor || got.Cmp(s) != 0 {
		t.Fatalf("%x, shifted %x, want %x", m, got, s)
	}
	return m
}

// check: what came out is congruent, bounded, and in digits.
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
		bound.Add(bound, m).Add(bound, m)
		if v.Sign() < 0 || v.Cmp(bound) > 0 {
			t.Fatalf("lane %d: a %x b %x: %x is too large", i, a, b, out)
		}
		for _, d := range out {
			if d > digitMask {
				t.Fatalf("lane %d: a %x b %x: %x is not in digits", i, a, b, out)
			}
		}
	}
}

// oddLanes are less than 2^1027, and often made of the greatest and the least digits.
func oddLanes(rng *mathrand.Rand) (l lanes) {
	for lane := range 2 * BatchSize {
		most := rng.IntN(8)
		var n number
		for i := range n {
			switch most + rng.IntN(4) {
			case 0, 1, 8, 9, 10:
				n[i] = digitMask
			case 2, 3:
				n[i] = 0
			default:
				n[i] = rng.Uint64() & digitMask
			}
		}
		n[digits-1] &= 1<<(1027-(digits-1)*digitBits) - 1
		l.set(lane, &n)
	}
	return l
}

// TestMultiplyLanes: products and squares are congruent and bounded, also of the largest and oddest numbers, and a
// power from the table is the one that each lane asked for.
func TestMultiplyLanes(t *testing.T) {
	l := newLaneTest(t)
	rng := mathrand.New(mathrand.NewPCG(7, 8))
	for range 2000 {
		x, y := oddLanes(rng), oddLanes(rng)
		var got lanes
		l.multiply(&got, &x, &y)
		l.check(t, &got, &x, &y)
		first, second := x, y
		l.multiply(&first, &first, &y)
		if l.multiply(&second, &x, &second); first != got || second != got {
			t.Fatalf("%x by %x: %x, in place of the one %x, of the other %x", x, y, got, first, second)
		}

		l.multiply(&got, &x, &ones)
		for i, m := range l.moduli {
			if n := got.get(i); crttest.Big(&n).Cmp(new(big.Int).Lsh(m, 1)) >= 0 {
				t.Fatalf("lane %d: %x by 1 is %x: not less than twice the modulus", i, x, n)
			}
		}

		got = x
		l.square(&got, 1)
		l.check(t, &got, &x, &x)
		again := x
		l.square(&again, 2)
		l.check(t, &again, &got, &got)

		for i := range 1 << window {
			power := oddLanes(rng)
			l.table.set(i, &power)
		}
		at := rng.IntN(windows)
		for lane := range l.exp {
			w := rng.Uint64()
			l.exp[lane][at*window/64] = w
			power := l.table.get(int(w >> (at * window % 64) & (1<<window - 1)))
			n := power.get(lane)
			y.set(lane, &n)
		}
		if l.pick(at); l.by != y {
			t.Fatalf("window %d of %x: %x, want %x", at, l.exp, l.by, y)
		}
	}
}

// TestAligned: no vector is in two lines of the cache.
func TestAligned(t *testing.T) {
	b := NewBatch()
	if at := uintptr(unsafe.Pointer(b)); at%64 != 0 {
		t.Errorf("a batch is at %#x", at)
	}
	for what, at := range map[string]uintptr{
		"moduli": uintptr(unsafe.Pointer(&b.m)), "sums": uintptr(unsafe.Pointer(&b.sums)), "x": uintptr(unsafe.Pointer(&b.x)),
		"table": uintptr(unsafe.Pointer(&b.table)), "constants": uintptr(unsafe.Pointer(&consts)),
	} {
		if at%unsafe.Sizeof(vector{}) != 0 {
			t.Errorf("%s: at %#x", what, at)
		}
	}
}

func TestRedacted(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
		for _, v := range []any{NewBatch(), new(Key)} {
			if s := fmt.Sprintf(verb, v); !strings.HasPrefix(s, "[") || len(s) > 10 {
				t.Errorf("%s: %.40s", verb, s)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	r, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	if New(r.Primes[0], r.Primes[1], r.Precomputed.Dp, r.Precomputed.Dq) != nil {
		t.Error("a key of 3072 bits was taken")
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
		"pick":     func() { l.pick(0) },
		"square":   func() { l.square(&l.x, window) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
	}
}
