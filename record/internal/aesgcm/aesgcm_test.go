// SPDX-License-Identifier: Apache-2.0

package aesgcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"math/rand/v2"
	"testing"
)

// pair returns an opener and crypto/cipher's AEAD under one key.
func pair(t testing.TB, rng *rand.ChaCha8, size int) (*Opener, cipher.AEAD) {
	t.Helper()
	key := make([]byte, size)
	_, _ = rng.Read(key)
	o := New(key)
	if o == nil {
		t.Skip("processor: no VAES or VPCLMULQDQ")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return o, gcm
}

func TestOpen(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{16, 32} {
		o, gcm := pair(t, rng, size)
		for n := range 1100 {
			testOpen(t, o, gcm, rng, n, n%40)
		}
		for _, n := range []int{1<<14 - 1, 1 << 14, 1<<14 + 1, 100_000} {
			testOpen(t, o, gcm, rng, n, 13)
		}
	}
}

func testOpen(t *testing.T, o *Opener, gcm cipher.AEAD, rng *rand.ChaCha8, n, additional int) {
	t.Helper()
	plaintext, data, nonce := make([]byte, n), make([]byte, additional), make([]byte, NonceSize)
	for _, b := range [][]byte{plaintext, data, nonce} {
		_, _ = rng.Read(b)
	}
	sealed := gcm.Seal(nil, nonce, plaintext, data)
	got, err := o.Open([]byte("head"), nonce, sealed, data)
	if err != nil {
		t.Fatalf("%d bytes, %d beside: %v", n, additional, err)
	}
	if !bytes.Equal(got, append([]byte("head"), plaintext...)) {
		t.Fatalf("%d bytes, %d beside: other bytes came out", n, additional)
	}
	// A change anywhere is seen, and nothing of the plaintext is left.
	at := int(rng.Uint64() % uint64(len(sealed)))
	bit := byte(1) << (rng.Uint64() % 8)
	sealed[at] ^= bit
	buf := make([]byte, 0, n)
	if got, err := o.Open(buf, nonce, sealed, data); err == nil || got != nil {
		t.Fatalf("%d bytes: a change at %d was not seen", n, at)
	}
	if !bytes.Equal(buf[:n], make([]byte, n)) {
		t.Fatalf("%d bytes: plaintext that is not authentic was left", n)
	}
	sealed[at] ^= bit
	if additional > 0 {
		data[additional-1] ^= 0x80
		if _, err := o.Open(nil, nonce, sealed, data); err == nil {
			t.Fatalf("%d bytes: a change beside was not seen", n)
		}
	}
}

func TestShort(t *testing.T) {
	o, _ := pair(t, rand.NewChaCha8([32]byte{2}), 16)
	for n := range TagSize {
		if _, err := o.Open(nil, make([]byte, NonceSize), make([]byte, n), nil); err == nil {
			t.Errorf("%d bytes were taken", n)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	o, gcm := pair(t, rand.NewChaCha8([32]byte{3}), 16)
	nonce, data := make([]byte, NonceSize), make([]byte, 13)
	for _, n := range []int{0, 100, 1 << 14} {
		sealed := gcm.Seal(nil, nonce, make([]byte, n), data)
		buf := make([]byte, 0, n)
		if allocs := testing.AllocsPerRun(100, func() { _, _ = o.Open(buf, nonce, sealed, data) }); allocs > 0 {
			t.Errorf("%d bytes: %v allocations", n, allocs)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(uint64(1), uint16(300), uint8(13))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, additional uint8) {
		rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
		o, gcm := pair(t, rng, 16+16*int(seed&1))
		testOpen(t, o, gcm, rng, int(n), int(additional))
	})
}

func BenchmarkOpen(b *testing.B) {
	o, gcm := pair(b, rand.NewChaCha8([32]byte{4}), 16)
	nonce, data := make([]byte, NonceSize), make([]byte, 13)
	sealed := gcm.Seal(nil, nonce, make([]byte, 1<<14), data)
	buf := make([]byte, 0, 1<<14)
	for name, open := range map[string]func(dst, nonce, ciphertext, additional []byte) ([]byte, error){
		"vector": o.Open, "crypto": gcm.Open,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(1 << 14)
			for b.Loop() {
				if _, err := open(buf, nonce, sealed, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	key := make([]byte, 16)
	for b.Loop() {
		New(key)
	}
}
