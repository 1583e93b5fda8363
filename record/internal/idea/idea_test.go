// SPDX-License-Identifier: Apache-2.0

package idea

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// The example of the cipher's publication (Lai, 1992), and others that libgcrypt made.
func TestVectors(t *testing.T) {
	for _, tt := range []struct{ key, plain, cipher string }{
		{"00010002000300040005000600070008", "0000000100020003", "11fbed2b01986de5"},
		{"eebf03c8ccdba456230a0c00bc1f8e5d", "075be5133b6e03a0", "3acc42895decf483"},
		{"680a1124ab6300b5d4bcab0b2d3b817c", "522763147314a08b", "49850df93d1d21a5"},
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
