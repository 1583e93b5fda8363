// SPDX-License-Identifier: Apache-2.0

package aescbc

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
)

// The vectors of NIST SP 800-38A, Sections F.2.2 and F.2.6.
func TestVectors(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	iv := unhex("000102030405060708090a0b0c0d0e0f")
	plain := unhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	for _, tt := range []struct{ key, cipher string }{
		{"2b7e151628aed2a6abf7158809cf4f3c", "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"},
		{"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"},
	} {
		for _, d := range both(t, unhex(tt.key)) {
			got := make([]byte, len(plain))
			d.Decrypt(got, unhex(tt.cipher), iv)
			if !bytes.Equal(got, plain) {
				t.Errorf("%T: got %x", d, got)
			}
		}
	}
}

func both(t testing.TB, key []byte) []Decrypter {
	d, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newGeneric(key)
	if err != nil {
		t.Fatal(err)
	}
	return []Decrypter{d, g}
}

// TestEveryLength compares with crypto/cipher on random input of every number of blocks that a
// record can have, at odd addresses, and looks for writes beyond the end.
func TestEveryLength(t *testing.T) {
	r := rand.NewChaCha8([32]byte{2})
	const max = (1<<14 + 2048) / BlockSize
	src, want := make([]byte, 1+max*BlockSize), make([]byte, max*BlockSize)
	got := make([]byte, 3+max*BlockSize+BlockSize)
	for _, size := range []int{16, 32} {
		key, iv := make([]byte, size), make([]byte, BlockSize)
		for n := 0; n <= max; n++ {
			r.Read(key)
			r.Read(iv)
			src := src[1 : 1+n*BlockSize]
			r.Read(src)
			block, err := aes.NewCipher(key)
			if err != nil {
				t.Fatal(err)
			}
			cipher.NewCBCDecrypter(block, iv).CryptBlocks(want[:len(src)], src)
			for _, d := range both(t, key) {
				after := got[3+len(src):][:BlockSize]
				r.Read(after)
				keep := [BlockSize]byte(after)
				d.Decrypt(got[3:], src, iv)
				if !bytes.Equal(got[3:3+len(src)], want[:len(src)]) {
					t.Fatalf("%T: key of %d bytes, %d blocks: wrong plaintext", d, size, n)
				}
				if keep != [BlockSize]byte(after) {
					t.Fatalf("%T: key of %d bytes, %d blocks: wrote beyond the end", d, size, n)
				}
			}
		}
	}
}

func TestKeySize(t *testing.T) {
	for _, n := range []int{0, 15, 17, 24, 31, 33} {
		if _, err := New(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes was taken", n)
		}
	}
}

func TestWrongLengthPanics(t *testing.T) {
	for _, d := range both(t, make([]byte, 16)) {
		for _, n := range [][3]int{{16, 15, 16}, {15, 16, 16}, {16, 16, 15}} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%T: %v: no panic", d, n)
					}
				}()
				d.Decrypt(make([]byte, n[0]), make([]byte, n[1]), make([]byte, n[2]))
			}()
		}
	}
}

func FuzzDecrypt(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), make([]byte, 48), false)
	f.Add([]byte("fedcba9876543210"), make([]byte, 160), true)
	f.Fuzz(func(t *testing.T, key, src []byte, long bool) {
		if len(key) < 16 {
			return
		}
		iv := key[:16]
		if long {
			key = append(bytes.Clone(iv), iv...)
		}
		src = src[:len(src)/BlockSize*BlockSize]
		d := both(t, key[:len(key)/16*16][:min(len(key)/16*16, 32)])
		a, b := make([]byte, len(src)), make([]byte, len(src))
		d[0].Decrypt(a, src, iv)
		d[1].Decrypt(b, src, iv)
		if !bytes.Equal(a, b) {
			t.Fatal("the two differ")
		}
	})
}

func BenchmarkDecrypt(b *testing.B) {
	for _, size := range []int{16, 32} {
		for _, n := range []int{64, 1408, 16384} {
			for _, d := range both(b, make([]byte, size)) {
				b.Run(fmt.Sprintf("AES-%d/%d/%T", 8*size, n, d), func(b *testing.B) {
					src, dst, iv := make([]byte, n), make([]byte, n), make([]byte, BlockSize)
					b.SetBytes(int64(n))
					b.ReportAllocs()
					for b.Loop() {
						d.Decrypt(dst, src, iv)
					}
				})
			}
		}
	}
}
