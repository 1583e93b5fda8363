// SPDX-License-Identifier: Apache-2.0

package ifma

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	mathrand "math/rand/v2"
	"testing"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
	"github.com/sightglass/sightglass/rsakex/internal/crt/crttest"
)

func testKey(t testing.TB) (*rsa.PrivateKey, *Key) {
	t.Helper()
	rs, ks := testKeys(t)
	return rs[0], ks[0]
}

func newKey(t testing.TB, r *rsa.PrivateKey) *Key {
	t.Helper()
	if !supported {
		t.Skip("processor: no AVX-512 IFMA")
	}
	k := New(r.Primes[0], r.Primes[1], r.Precomputed.Dp, r.Precomputed.Dq)
	if k == nil {
		t.Fatal("the key was not taken")
	}
	return k
}

func TestDecrypt(t *testing.T) {
	rs, ks := testKeys(t)
	for i, r := range rs {
		for _, c := range crttest.Edges(t, r, 40) {
			want := new(big.Int).Exp(c, r.D, r.N).FillBytes(make([]byte, crt.Size))
			got := make([]byte, crt.Size)
			ks[i].Decrypt(got, c.FillBytes(make([]byte, crt.Size)), nil)
			if !bytes.Equal(got, want) {
				t.Fatalf("%x: %x, want %x", c, got, want)
			}
		}
	}
}

// TestMultiply: what comes out is congruent and bounded, and in digits, also of the largest and oddest
// numbers.
func TestMultiply(t *testing.T) {
	r, k := testKey(t)
	inverse := [2]*big.Int{}
	for i, m := range r.Primes {
		shift := new(big.Int).Lsh(big.NewInt(1), digits*digitBits)
		inverse[i] = shift.ModInverse(shift, m)
	}
	rng := mathrand.New(mathrand.NewPCG(1, 2))
	for range 3000 {
		var a, b, got pair
		for i := range 2 {
			a[i], b[i] = oddNumber(rng), oddNumber(rng)
		}
		amm2(&got, &a, &b, &k.m, &k.k0)
		for i, m := range r.Primes {
			product := new(big.Int).Mul(crttest.Big(&a[i]), crttest.Big(&b[i]))
			want := new(big.Int).Mul(product, inverse[i])
			v := crttest.Big(&got[i])
			if want.Sub(want, v).Mod(want, m).Sign() != 0 {
				t.Fatalf("a %x b %x: %x is not congruent", a[i], b[i], got[i])
			}
			bound := product.Rsh(product, digits*digitBits)
			if v.Cmp(bound.Add(bound, m)) > 0 {
				t.Fatalf("a %x b %x: %x is too large", a[i], b[i], got[i])
			}
			for _, d := range got[i] {
				if d > digitMask {
					t.Fatalf("a %x b %x: %x is not in digits", a[i], b[i], got[i])
				}
			}
		}
	}
}

// TestCarries: a carry runs on through digits of ones, and stops at the first that is not. Of random products next to none
// has such, so these are made to have them: the value itself comes out of a times 2^1040 times 1.
func TestCarries(t *testing.T) {
	r, k := testKey(t)
	shift := new(big.Int).Lsh(big.NewInt(1), digits*digitBits)
	rng := mathrand.New(mathrand.NewPCG(3, 4))
	for round := range 3000 {
		var a, got pair
		var want [2]*big.Int
		for i, m := range r.Primes {
			n := oddNumber(rng)
			for j := range n {
				n[j] = []uint64{0, 1, 2, digitMask - 2, digitMask - 1, digitMask}[rng.IntN(6)]
			}
			if round < digits {
				n = number{}
				n[round] = 1
			}
			want[i] = crttest.Big(&n)
			want[i].Mod(want[i], m)
			a[i] = crt.DigitsFromBig(new(big.Int).Mod(new(big.Int).Mul(want[i], shift), m))
		}
		amm2(&got, &a, &one, &k.m, &k.k0)
		for i := range got {
			if crttest.Big(&got[i]).Cmp(want[i]) != 0 {
				t.Fatalf("%x came out, want %x", crttest.Big(&got[i]), want[i])
			}
			for _, d := range got[i] {
				if d > digitMask {
					t.Fatalf("%x is not in digits", got[i])
				}
			}
		}
	}
}

// oddNumber is less than 2^1026, and often made of ones and zeros.
func oddNumber(rng *mathrand.Rand) (n number) {
	for i := range n {
		switch rng.IntN(4) {
		case 0:
			n[i] = digitMask
		case 1:
			n[i] = 0
		default:
			n[i] = rng.Uint64() & digitMask
		}
	}
	n[digits-1] &= 1<<(1026-(digits-1)*digitBits) - 1
	return n
}

func TestGather(t *testing.T) {
	if !supported {
		t.Skip("processor: no AVX-512 IFMA")
	}
	var table [32]pair
	for i := range table {
		for j := range 2 {
			for l := range digits {
				table[i][j][l] = uint64(1000*i + 100*j + l)
			}
		}
	}
	for i := range uint64(32) {
		var got pair
		gather(&got, &table, i, 31-i)
		if want := (pair{table[i][0], table[31-i][1]}); got != want {
			t.Fatalf("entry %d: %v", i, got)
		}
	}
}

func TestNegInverse(t *testing.T) {
	rng := mathrand.New(mathrand.NewPCG(3, 4))
	for range 100 {
		if m := rng.Uint64() | 1; negInverse(m)*m != ^uint64(0) {
			t.Fatalf("%x: the inverse is %x", m, negInverse(m))
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

func BenchmarkDecrypt(b *testing.B) {
	_, k := testKey(b)
	c := make([]byte, crt.Size)
	rand.Read(c[1:])
	for b.Loop() {
		k.Decrypt(c, c, nil)
		c[0] = 0
	}
}

func BenchmarkMultiply(b *testing.B) {
	_, k := testKey(b)
	a := k.low
	for b.Loop() {
		amm2(&a, &a, &a, &k.m, &k.k0)
	}
}
