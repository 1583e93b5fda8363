// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/rand"
	"math/big"
	"testing"
)

// opens checks that the numbers make a key which opens what is sealed to n and e.
func opens(t *testing.T, name string, k keyNumbers) *privateKey {
	t.Helper()
	private, err := newPrivateKey(k)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	size := (k.n.BitLen() + 7) / 8
	em := bytes.Repeat([]byte{7}, size)
	em[0], em[1], em[size-premasterLen-1] = 0, 2, 0
	copy(em[size-premasterLen:], testPremaster())
	m := new(big.Int).SetBytes(em)
	got := private.premaster(m.Exp(m, k.e, k.n).FillBytes(make([]byte, size)), nil)
	if !bytes.Equal(got[:], testPremaster()) {
		t.Errorf("%s: another premaster secret", name)
	}
	return private
}

func bigPrime(t *testing.T, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// numbersFrom makes a key from primes and a public exponent prime to them.
func numbersFrom(p, q, e *big.Int) (keyNumbers, bool) {
	k := keyNumbers{n: new(big.Int).Mul(p, q), e: e, p: p, q: q, primes: 2}
	k.d = k.exponent()
	return k, k.d != nil
}

func TestOddKeys(t *testing.T) {
	k := numbersOf(key1024(t))
	id := opens(t, "as made", k).id

	same := func(name string, k keyNumbers) {
		t.Helper()
		if p := opens(t, name, k); p != nil && p.id != id {
			t.Errorf("%s: another ID", name)
		}
	}
	swapped := k
	swapped.p, swapped.q = k.q, k.p
	same("primes the other way round", swapped)

	phi := k
	phi.d = new(big.Int).ModInverse(k.e, new(big.Int).Mul(new(big.Int).Sub(k.p, one), new(big.Int).Sub(k.q, one)))
	same("d modulo φ", phi)

	wrong := k
	wrong.d = new(big.Int).Add(k.d, one)
	same("a wrong d beside the right primes", wrong)

	missing := k
	missing.p, missing.q, missing.primes = nil, nil, 0
	same("no primes", missing)

	zero := k
	zero.p, zero.q = new(big.Int), new(big.Int)
	same("primes of zero", zero)

	other := k
	other.p = bigPrime(t, 512)
	same("a prime that is another's", other)
}

// Keys that crypto/rsa refuses in its usual form.
func TestWeakKeys(t *testing.T) {
	e := big.NewInt(65537)
	p := bigPrime(t, 512)
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(20) {
		q.Add(q, big.NewInt(2))
	}
	if k, ok := numbersFrom(p, q, e); ok {
		opens(t, "primes close to each other", k)
	}
	for _, e := range []int64{3, 17, 1<<31 - 1, 1<<31 + 11, 1<<40 + 15} {
		for {
			k, ok := numbersFrom(bigPrime(t, 512), bigPrime(t, 512), big.NewInt(e))
			if ok {
				opens(t, "e = "+k.e.String(), k)
				break
			}
		}
	}
	k, ok := numbersFrom(bigPrime(t, 300), bigPrime(t, 729), e)
	if ok {
		opens(t, "primes of unlike size", k)
	}
}

// The sealed store depends on the key, not on how its file writes it.
func TestStoreSecretIsCanonical(t *testing.T) {
	k := numbersOf(key1024(t))
	phi := k
	phi.d = new(big.Int).ModInverse(k.e, new(big.Int).Mul(new(big.Int).Sub(k.p, one), new(big.Int).Sub(k.q, one)))
	a, b := opens(t, "as made", k), opens(t, "d modulo φ", phi)
	if !bytes.Equal(a.d, b.d) {
		t.Error("two forms of one key derive two keys")
	}
}

func TestKeysRefused(t *testing.T) {
	k := numbersOf(key1024(t))
	change := func(f func(k *keyNumbers)) keyNumbers { c := k; f(&c); return c }
	even := new(big.Int).Add(k.n, one)
	huge := new(big.Int).Lsh(one, maxBits)
	huge.Add(huge, one)
	three := keyNumbers{e: big.NewInt(65537), p: big.NewInt(3), q: k.n, n: new(big.Int).Mul(k.n, big.NewInt(3))}
	for name, k := range map[string]keyNumbers{
		"a factor no prime":   three,
		"nothing":             {},
		"no modulus":          change(func(k *keyNumbers) { k.n = nil }),
		"even modulus":        change(func(k *keyNumbers) { k.n = even }),
		"negative modulus":    change(func(k *keyNumbers) { k.n = new(big.Int).Neg(k.n) }),
		"short modulus":       change(func(k *keyNumbers) { k.n = big.NewInt(143) }),
		"long modulus":        change(func(k *keyNumbers) { k.n = huge }),
		"e = 0":               change(func(k *keyNumbers) { k.e = new(big.Int) }),
		"e = 1":               change(func(k *keyNumbers) { k.e = one }),
		"even e":              change(func(k *keyNumbers) { k.e = big.NewInt(4) }),
		"e above n":           change(func(k *keyNumbers) { k.e = new(big.Int).Add(k.n, big.NewInt(2)) }),
		"no primes, wrong d":  change(func(k *keyNumbers) { k.p, k.q, k.d = nil, nil, big.NewInt(12345) }),
		"no primes, no d":     change(func(k *keyNumbers) { k.p, k.q, k.d = nil, nil, nil }),
		"no primes, d above":  change(func(k *keyNumbers) { k.p, k.q, k.d = nil, nil, even }),
		"primes of 1 and n":   change(func(k *keyNumbers) { k.p, k.q, k.d = one, k.n, nil }),
		"three primes":        change(func(k *keyNumbers) { k.primes = 3 }),
		"a modulus of others": change(func(k *keyNumbers) { k.n = key2048(t).N; k.p, k.q = nil, nil }),
	} {
		if _, err := newPrivateKey(k); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Without the GODEBUG setting the error says what to do.
func TestSmallKeyNeedsSetting(t *testing.T) {
	key := key512(t)
	t.Setenv("GODEBUG", "rsa1024min=1")
	_, err := newPrivateKey(numbersOf(key))
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("GODEBUG=rsa1024min=0")) {
		t.Errorf("error %v", err)
	}
}
