// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"testing"
)

// TestFastAsSlow: the fast private operation takes and refuses the same paddings as crypto/rsa, alone and in a
// batch.
func TestFastAsSlow(t *testing.T) {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	numbers := numbersOf(r)
	fast, err := newPrivateKey(numbers)
	if err != nil {
		t.Fatal(err)
	}
	if fast.fast == nil {
		t.Skip("processor: no fast private operation")
	}
	slow := numbers.withCRT()
	slow.n = fast.n
	ring, batch := ringOf(t, r), newFastBatch()
	e := big.NewInt(int64(r.E))
	well := bytes.Repeat([]byte{0x77}, 256)
	well[0], well[1], well[256-49] = 0, 2, 0
	for name, change := range map[string]func(em []byte){
		"well formed":        func([]byte) {},
		"zero before":        func(em []byte) { em[0] = 1 },
		"type 1":             func(em []byte) { em[1] = 1 },
		"type 0":             func(em []byte) { em[1] = 0 },
		"zero first in PS":   func(em []byte) { em[2] = 0 },
		"zero last in PS":    func(em []byte) { em[256-50] = 0 },
		"no separator":       func(em []byte) { em[256-49] = 1 },
		"one byte too short": func(em []byte) { em[256-49], em[256-48] = 1, 0 },
		"zero in the secret": func(em []byte) { em[256-30] = 0 },
		"all zero":           func(em []byte) { clear(em) },
	} {
		em := bytes.Clone(well)
		change(em)
		em[0] &= 0x3f
		sealed := new(big.Int).Exp(new(big.Int).SetBytes(em), e, r.N).FillBytes(make([]byte, 256))
		secret := [premasterLen]byte(em[256-48:])
		a, b := fast.premaster(sealed, nil), slow.premaster(sealed, nil)
		if (a == secret) != (b == secret) {
			t.Errorf("%s: the fast operation took it: %v, crypto/rsa: %v", name, a == secret, b == secret)
		}
		wanted := name == "well formed" || name == "zero in the secret"
		if (a == secret) != wanted {
			t.Errorf("%s: taken: %v", name, a == secret)
		}
		q := testRequest(fast.id, sealed)
		for i, m := range ring.openBatch(batch, []*Request{&q, &q, &q, &q}, nil) {
			if taken := bytes.Equal(m, q.Master(secret[:])); taken != wanted {
				t.Errorf("%s: place %d of a batch: taken: %v", name, i, taken)
			}
		}
	}
}
