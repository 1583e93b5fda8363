// SPDX-License-Identifier: Apache-2.0

package camellia

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// The vectors of RFC 3713, Appendix A.
func TestVectors(t *testing.T) {
	for _, tt := range []struct{ key, plain, cipher string }{
		{"0123456789abcdeffedcba9876543210", "0123456789abcdeffedcba9876543210", "67673138549669730857065648eabe43"},
		{"0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff", "0123456789abcdeffedcba9876543210", "9acc237dff16d76c20ef7c919e3a7509"},
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
