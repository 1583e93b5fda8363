// SPDX-License-Identifier: Apache-2.0

// Package crttest has keys and ciphertexts for the tests of private operations.
package crttest

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"sync"
	"testing"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
)

var keys = sync.OnceValues(func() (rs [4]*rsa.PrivateKey, err error) {
	for i := range rs {
		if rs[i], err = rsa.GenerateKey(rand.Reader, 8*crt.Size); err != nil {
			return rs, err
		}
	}
	return rs, nil
})

// Keys returns n keys, four at most: the same ones for all tests.
func Keys(t testing.TB, n int) []*rsa.PrivateKey {
	t.Helper()
	rs, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	return rs[:n]
}

// Edges returns ciphertexts at the edges of what a key may get, and more in between.
func Edges(t testing.TB, r *rsa.PrivateKey, more int) []*big.Int {
	t.Helper()
	p, q := r.Primes[0], r.Primes[1]
	c := []*big.Int{big.NewInt(0), big.NewInt(1), big.NewInt(2), new(big.Int).Sub(r.N, big.NewInt(1)), p, q,
		new(big.Int).Mul(p, big.NewInt(12345)), new(big.Int).Mul(q, big.NewInt(54321)), new(big.Int).Sub(r.N, q)}
	for range more {
		v, err := rand.Int(rand.Reader, r.N)
		if err != nil {
			t.Fatal(err)
		}
		c = append(c, v)
	}
	return c
}

// Big returns what the digits come to.
func Big(n *crt.Digits) *big.Int {
	v := new(big.Int)
	for i := len(n) - 1; i >= 0; i-- {
		v.Lsh(v, crt.DigitBits).Add(v, new(big.Int).SetUint64(n[i]))
	}
	return v
}
