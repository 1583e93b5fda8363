// SPDX-License-Identifier: Apache-2.0

package seed

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// The vectors of RFC 4269, Appendix B.
func TestVectors(t *testing.T) {
	for _, tt := range []struct{ key, plain, cipher string }{
		{"00000000000000000000000000000000", "000102030405060708090a0b0c0d0e0f", "5ebac6e0054e166819aff1cc6d346cdb"},
		{"000102030405060708090a0b0c0d0e0f", "00000000000000000000000000000000", "c11f22f20140505084483597e4370f43"},
		{"4706480851e61be85d74bfb3fd956185", "83a2f8a288641fb9a4e9a5cc2f131c7d", "ee54d13ebcae706d226bc3142cd40d4a"},
		{"28dbc3bc49ffd87dcfa509b11d422be7", "b41e6be2eba84a148e2eed84593c5ec7", "9b9b7bfcd1813cb95d0b3618f40f5122"},
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
	key, plain, got := make([]byte, 16), make([]byte, BlockSize), make([]byte, BlockSize)
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
	c, err := NewCipher(make([]byte, 16))
	if err != nil {
		b.Fatal(err)
	}
	block := make([]byte, BlockSize)
	b.SetBytes(BlockSize)
	for b.Loop() {
		c.Decrypt(block, block)
	}
}
