// SPDX-License-Identifier: Apache-2.0

package crt_test

import (
	"encoding/binary"
	"math/big"
	mathrand "math/rand/v2"
	"testing"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
	"github.com/sightglass/sightglass/rsakex/internal/crt/crttest"
)

// TestDigits: numbers of words are the same in digits, the largest included, and are added and subtracted as numbers are.
func TestDigits(t *testing.T) {
	rng := mathrand.New(mathrand.NewPCG(3, 4))
	random := func() (w crt.Number, n crt.Digits) {
		b := make([]byte, crt.Size/2)
		all := rng.IntN(4)
		for i := range w {
			switch all {
			case 0:
				w[i] = ^uint64(0)
			case 1:
				w[i] = rng.Uint64() & -uint64(rng.IntN(2))
			default:
				w[i] = rng.Uint64()
			}
			binary.BigEndian.PutUint64(b[len(b)-8*i-8:], w[i])
		}
		n = crt.DigitsFromBytes(b)
		if v := new(big.Int).SetBytes(b); crttest.Big(&n).Cmp(v) != 0 || crt.DigitsFromBig(v) != n {
			t.Fatalf("%x is %x in digits", b, n)
		}
		return w, n
	}
	for range 1000 {
		w, n := random()
		_, m := random()
		a, b := crttest.Big(&n), crttest.Big(&m)
		for _, number := range []crt.Digits{n, m} {
			for _, d := range number {
				if d >= 1<<crt.DigitBits {
					t.Fatalf("%x is not in digits", number)
				}
			}
		}
		if got := n.Words(); got != w {
			t.Fatalf("%x and back: %x", w, got)
		}
		sum := n
		if sum.Add(&m); crttest.Big(&sum).Cmp(new(big.Int).Add(a, b)) != 0 {
			t.Fatalf("%x and %x is %x", a, b, sum)
		}
		if sum.Sub(&m) != 0 || sum != n {
			t.Fatalf("%x and %x, less that, is %x", a, b, sum)
		}
		if less := sum; less.Sub(&m) == 1 != (a.Cmp(b) < 0) {
			t.Fatalf("whether %x is less than %x", a, b)
		}
		want := new(big.Int).Set(a)
		if a.Cmp(b) >= 0 {
			want.Sub(a, b)
		}
		if n.Once(&m); crttest.Big(&n).Cmp(want) != 0 {
			t.Fatalf("%x, once less %x, is %x", a, b, n)
		}
		if m.Once(&m); m != (crt.Digits{}) {
			t.Fatalf("%x less itself is %x", b, m)
		}
	}
	greatest := new(big.Int).Lsh(big.NewInt(1), crt.DigitCount*crt.DigitBits)
	if n := crt.DigitsFromBig(greatest.Sub(greatest, big.NewInt(1))); crttest.Big(&n).Cmp(greatest) != 0 {
		t.Fatalf("%x is %x in digits", greatest, n)
	}
}
