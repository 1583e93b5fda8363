// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/bits"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
)

// The sizes of modulus that are taken, in bits. 512 is what export suites needed; the upper bound is
// that of common TLS libraries.
const (
	minBits = 512
	maxBits = 16384
)

// premasterLen is the length of the premaster secret of RSA key exchange (RFC 5246, Section 7.4.7.1).
const premasterLen = 48

// privateKey is an RSA private key behind the wall. It formats as a placeholder.
type privateKey struct {
	id     KeyID
	fast   *fastKey        // nil where the processor, or the size of the key, is not made for it
	rsa    *rsa.PrivateKey // opens where fast is nil
	n      []byte          // the modulus, big-endian
	d      []byte          // the secret that the session store's keys derive from
	source string
}

// keyNumbers are the numbers of a private key as a file has them, possibly wrong.
type keyNumbers struct {
	n, e, d, p, q *big.Int // p and q may be nil
	primes        int      // 2, or 0 if p and q are not there
}

// numbersOf takes the numbers of a key in memory.
func numbersOf(k *rsa.PrivateKey) keyNumbers {
	k2 := keyNumbers{n: k.N, e: big.NewInt(int64(k.E)), d: k.D, primes: len(k.Primes)}
	if len(k.Primes) >= 2 {
		k2.p, k2.q = k.Primes[0], k.Primes[1]
	}
	return k2
}

var (
	errMultiPrime = errors.New("RSA keys of more than two primes are not supported")
	errDamaged    = errors.New("the RSA private key is damaged: its numbers do not fit each other")
	one           = big.NewInt(1)
)

// newPrivateKey makes a key from its numbers and tries it. The CRT values are always computed anew
// and d is too where the primes are known, since files have odd ones and only n, e and the primes
// say what the key is.
func newPrivateKey(k keyNumbers) (*privateKey, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if k.hasPrimes() {
		if k.d = k.exponent(); k.d == nil {
			return nil, errDamaged
		}
	}
	if k.d == nil || k.d.Sign() <= 0 || k.d.Cmp(k.n) >= 0 {
		return nil, errDamaged
	}
	var err error
	for _, build := range []func() *privateKey{k.accelerated, k.withCRT, k.withoutCRT} {
		made := build()
		if made == nil {
			continue
		}
		made.n, made.d = k.n.Bytes(), k.d.Bytes()
		if err = made.try(k.n, k.e); err == nil {
			made.id = (&publicKey{k.n, k.e}).id()
			return made, nil
		}
	}
	return nil, err
}

// check bounds the numbers before anything is computed with them.
func (k *keyNumbers) check() error {
	switch {
	case k.primes > 2:
		return errMultiPrime
	case k.n == nil || k.n.Sign() <= 0 || k.n.Bit(0) == 0:
		return errDamaged
	case k.n.BitLen() < minBits:
		return fmt.Errorf("RSA keys of %d bits are too short: at least %d are needed", k.n.BitLen(), minBits)
	case k.n.BitLen() > maxBits:
		return fmt.Errorf("RSA keys of %d bits are too long: at most %d are supported", k.n.BitLen(), maxBits)
	case k.e == nil || k.e.Cmp(one) <= 0 || k.e.Bit(0) == 0 || k.e.Cmp(k.n) >= 0:
		return errDamaged
	}
	return nil
}

// hasPrimes reports whether p and q are there and are the modulus's factors.
func (k *keyNumbers) hasPrimes() bool {
	return k.p != nil && k.q != nil && k.p.Cmp(one) > 0 && k.q.Cmp(one) > 0 &&
		k.p.Cmp(k.n) < 0 && k.q.Cmp(k.n) < 0 &&
		new(big.Int).Mul(k.p, k.q).Cmp(k.n) == 0
}

// exponent returns the private exponent, e⁻¹ mod lcm(p−1, q−1) (RFC 8017, Section 3.2), or nil if
// there is none.
func (k *keyNumbers) exponent() *big.Int {
	p1, q1 := new(big.Int).Sub(k.p, one), new(big.Int).Sub(k.q, one)
	gcd := new(big.Int).GCD(nil, nil, p1, q1)
	lambda := p1.Mul(p1, q1)
	lambda.Div(lambda, gcd)
	return new(big.Int).ModInverse(k.e, lambda)
}

// accelerated is the form for the fast private operation, where there is one. Which of the factors is the
// greater plays no part in it.
func (k *keyNumbers) accelerated() *privateKey {
	if !k.hasPrimes() {
		return nil
	}
	fast := newFastKey(k.p, k.q, k.reduced(k.p), k.reduced(k.q))
	if fast == nil {
		return nil
	}
	return &privateKey{fast: fast}
}

// reduced returns the private exponent modulo a factor less one.
func (k *keyNumbers) reduced(factor *big.Int) *big.Int {
	m := new(big.Int).Sub(factor, one)
	return m.Mod(k.d, m)
}

// withCRT is crypto/rsa's usual form; it takes p < q as well.
func (k *keyNumbers) withCRT() *privateKey {
	if !k.hasPrimes() || k.e.BitLen() > 31 {
		return nil
	}
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: k.n, E: int(k.e.Int64())},
		D:         k.d,
		Primes:    []*big.Int{k.p, k.q},
	}
	key.Precompute()
	if key.Validate() != nil {
		return nil
	}
	return &privateKey{rsa: key}
}

// withoutCRT is for keys that crypto/rsa finds too weak or too odd: primes close to each other, a
// small d, a large e, primes missing. It is as constant in time and about four times slower. The
// public exponent plays no part in opening, so a large one is not told to crypto/rsa.
func (k *keyNumbers) withoutCRT() *privateKey {
	e := 65537
	if k.e.BitLen() <= 31 {
		e = int(k.e.Int64())
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: k.n, E: e}, D: k.d}
	key.Precompute()
	return &privateKey{rsa: key}
}

// try seals a known premaster secret to the key, whose modulus is n, and opens it again.
func (k *privateKey) try(n, e *big.Int) error {
	em := make([]byte, len(k.n)) // 00 02 PS 00 M (RFC 8017, Section 7.2.1)
	for i := range em {
		em[i] = 0x5a
	}
	secret := em[len(em)-premasterLen:]
	em[0], em[1], em[len(em)-premasterLen-1] = 0, 2, 0
	m := new(big.Int).SetBytes(em)
	sealed := m.Exp(m, e, n).FillBytes(make([]byte, len(em)))
	if k.fast == nil {
		if err := decryptSessionKey(k.rsa, sealed, make([]byte, premasterLen)); err != nil {
			if k.bits() < 1024 {
				return fmt.Errorf("the RSA key has %d bits, and keys under 1024 bits are refused: set GODEBUG=rsa1024min=0 in the environment", k.bits())
			}
			return fmt.Errorf("the RSA private key cannot be used: %w", err)
		}
	}
	if opened := k.premaster(sealed, nil); subtle.ConstantTimeCompare(opened[:], secret) != 1 {
		return errDamaged
	}
	return nil
}

// bits returns the length of the modulus.
func (k *privateKey) bits() int { return len(k.n)*8 - bits.LeadingZeros8(k.n[0]) }

// premaster opens an encrypted premaster secret, and answers with a random one if its padding or
// length is not right (RFC 5246, Section 7.4.7.1). Each call does the same work: one random secret,
// one private operation, one copy. The fast operation calls pause, unless that is nil, in between, always as often.
func (k *privateKey) premaster(encrypted []byte, pause func()) [premasterLen]byte {
	if k.fast != nil {
		s := k.sealed(encrypted)
		k.fast.decrypt(&s.em, pause)
		return s.open()
	}
	var result [premasterLen]byte
	rand.Read(result[:]) // never fails
	opened := result
	ciphertext := make([]byte, len(k.n))
	ok := k.fit(ciphertext, encrypted)
	// The error can only be about the key, which was tried, or about what fit has seen to; were
	// there one, the random secret would stand.
	_ = decryptSessionKey(k.rsa, ciphertext, opened[:])
	subtle.ConstantTimeCopy(ok, result[:], opened[:])
	return result
}

// sealed is an encrypted premaster secret on its way through the fast private operation.
type sealed struct {
	em        [crt.Size]byte     // the ciphertext, then what it opens to
	ok        int                // 1: the ciphertext is the one that was sent
	premaster [premasterLen]byte // random, until it is opened
}

func (k *privateKey) sealed(encrypted []byte) (s sealed) {
	rand.Read(s.premaster[:]) // never fails
	s.ok = k.fit(s.em[:], encrypted)
	return s
}

// open takes the premaster secret out of its padding, 00 02 PS 00 M (RFC 8017, Section 7.2.2), in constant
// time.
func (s *sealed) open() [premasterLen]byte {
	em, rest := &s.em, len(s.em)-premasterLen
	ok := s.ok & subtle.ConstantTimeByteEq(em[0], 0) & subtle.ConstantTimeByteEq(em[1], 2) & subtle.ConstantTimeByteEq(em[rest-1], 0)
	for _, b := range em[2 : rest-1] {
		ok &= 1 - subtle.ConstantTimeByteEq(b, 0) // no zero in PS
	}
	subtle.ConstantTimeCopy(ok, s.premaster[:], em[rest:])
	return s.premaster
}

// decryptSessionKey replaces premaster by what is sealed in ciphertext if that is well-formed and of
// the same length, in constant time. It fails at once for a ciphertext that is not below the modulus
// or longer, or a key that crypto/rsa refuses.
func decryptSessionKey(key *rsa.PrivateKey, ciphertext, premaster []byte) error {
	//lint:ignore SA1019 RSA key exchange is this function's one use: no better padding is on the wire
	return rsa.DecryptPKCS1v15SessionKey(nil, key, ciphertext, premaster)
}

// fit sets ciphertext, which is zero and of the modulus's length, to a number below the modulus, since
// crypto/rsa answers at once to any other. It returns 1 if that is the one that was sent, 0 if it stands
// in for it. What it depends on is public. A shorter ciphertext is the same number with its leading
// zeros cut off: some clients send it so, and common servers take it.
func (k *privateKey) fit(ciphertext, encrypted []byte) (ok int) {
	if len(encrypted) <= len(k.n) {
		copy(ciphertext[len(k.n)-len(encrypted):], encrypted)
		ok = 1
	} else {
		copy(ciphertext, encrypted)
	}
	if ok == 0 || !less(ciphertext, k.n) {
		ciphertext[0], ok = 0, 0 // the modulus's first byte is not zero
	}
	return ok
}

// less reports whether a < b, both big-endian and of one length.
func less(a, b []byte) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// String returns a placeholder.
func (k privateKey) String() string { return redacted }

// Format writes a placeholder, whatever the verb.
func (k privateKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }
