// SPDX-License-Identifier: Apache-2.0

package aria

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// The vectors of RFC 5794, Appendix A.
func TestVectors(t *testing.T) {
	for _, tt := range []struct{ key, plain, cipher string }{
		{"000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "d718fbd6ab644c739da95f3be6451778"},
		{"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "00112233445566778899aabbccddeeff", "f92bd7c79fb72e2f2b8f80c1972d24fc"},
	} {
		key, _ := hex.DecodeString(tt.key)
		b, _ := hex.DecodeString(tt.plain)
		c, err := NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		c.Encrypt(b, b)
		if got := hex.EncodeToString(b); got != tt.cipher {
			t.Errorf("%s: Encrypt = %s, want %s", tt.key, got, tt.cipher)
		}
		c.Decrypt(b, b)
		if got := hex.EncodeToString(b); got != tt.plain {
			t.Errorf("%s: Decrypt = %s, want %s", tt.key, got, tt.plain)
		}
	}
	if _, err := NewCipher(make([]byte, 15)); err == nil {
		t.Error("a key of 15 bytes was taken")
	}
}

func TestDecryptUndoesEncrypt(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	key, plain, got := make([]byte, 32), make([]byte, BlockSize), make([]byte, BlockSize)
	for range 1000 {
		r.Read(key)
		r.Read(plain)
		c, err := NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		c.Encrypt(got, plain)
		c.Decrypt(got, got)
		if !bytes.Equal(got, plain) {
			t.Fatalf("key %x: %x became %x", key, plain, got)
		}
	}
}

func BenchmarkDecrypt(b *testing.B) {
	c, err := NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	block := make([]byte, BlockSize)
	b.SetBytes(BlockSize)
	for b.Loop() {
		c.Decrypt(block, block)
	}
}
