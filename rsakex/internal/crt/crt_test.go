// SPDX-License-Identifier: Apache-2.0

package crt

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"testing"
)

func TestNumbers(t *testing.T) {
	for range 100 {
		b := make([]byte, Size/2)
		rand.Read(b)
		v := new(big.Int).SetBytes(b)
		n := FromBig(v)
		for i, w := range n {
			if want := new(big.Int).Rsh(v, uint(64*i)).Uint64(); w != want {
				t.Fatalf("%x: word %d is %x", v, i, w)
			}
		}
	}
}

func TestCombine(t *testing.T) {
	r, err := rsa.GenerateKey(rand.Reader, 8*Size)
	if err != nil {
		t.Fatal(err)
	}
	p, q := r.Primes[0], r.Primes[1]
	one := big.NewInt(1)
	words := FromBig(q)
	for _, m := range []*big.Int{new(big.Int), one, p, q, new(big.Int).Sub(r.N, one), new(big.Int).Rsh(r.N, 3)} {
		mq := new(big.Int).Mod(m, q)
		h := new(big.Int).Sub(m, mq)
		h.Mul(h, new(big.Int).ModInverse(q, p)).Mod(h, p)
		a, b := FromBig(h), FromBig(mq)
		got := make([]byte, Size)
		Combine(got, &a, &b, &words)
		if want := m.FillBytes(make([]byte, Size)); !bytes.Equal(got, want) {
			t.Errorf("%x, want %x", got, want)
		}
	}
}

func TestFits(t *testing.T) {
	r, err := rsa.GenerateKey(rand.Reader, 8*Size)
	if err != nil {
		t.Fatal(err)
	}
	p, q, dp, dq := r.Primes[0], r.Primes[1], r.Precomputed.Dp, r.Precomputed.Dq
	shorter, even, zero := new(big.Int).Rsh(p, 1), new(big.Int).Sub(p, big.NewInt(1)), new(big.Int)
	for name, c := range map[string]struct {
		p, q, dp, dq *big.Int
		want         bool
	}{
		"a key":              {p, q, dp, dq, true},
		"the other way":      {q, p, dq, dp, true},
		"a factor too short": {p, shorter, dp, dq, false},
		"a factor too long":  {r.N, q, dp, dq, false},
		"an even factor":     {even, q, dp, dq, false},
		"no exponent":        {p, q, zero, dq, false},
		"an exponent below":  {p, q, dp, new(big.Int).Neg(dq), false},
		"one too long":       {p, q, r.N, dq, false},
	} {
		if Fits(c.p, c.q, c.dp, c.dq) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}
