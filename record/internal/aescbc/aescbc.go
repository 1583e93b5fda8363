// SPDX-License-Identifier: Apache-2.0

// Package aescbc decrypts AES in CBC mode. Every block of a record can be decrypted at once, since
// CBC chains ciphertext; crypto/cipher goes one by one. On amd64 with AES instructions eight blocks
// are in flight, and sixteen where they have a vector form; elsewhere, and with the build tag purego, this
// is crypto/cipher.
package aescbc

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
)

// BlockSize is the AES block size in bytes.
const BlockSize = aes.BlockSize

var (
	errKeySize = errors.New("aescbc: invalid key size")
	errLength  = errors.New("aescbc: input not full blocks, or output too short")
)

// Decrypter decrypts with one key. It is not safe for concurrent use.
type Decrypter interface {
	// Decrypt decrypts src into dst, with iv of BlockSize bytes. The length of src is a multiple of
	// BlockSize, dst is at least as long and overlaps neither src nor iv. It allocates nothing and
	// panics if a length is wrong.
	Decrypt(dst, src, iv []byte)
}

// New returns a Decrypter for a key of 16 or 32 bytes, which is copied.
func New(key []byte) (Decrypter, error) {
	if len(key) != 16 && len(key) != 32 {
		return nil, errKeySize
	}
	if d := newAccelerated(key); d != nil {
		return d, nil
	}
	return newGeneric(key)
}

// generic is crypto/cipher's.
type generic struct{ mode settable }

// settable is what every CBC cipher.BlockMode of the standard library is.
type settable interface {
	cipher.BlockMode
	SetIV(iv []byte)
}

func newGeneric(key []byte) (Decrypter, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	mode, ok := cipher.NewCBCDecrypter(block, make([]byte, BlockSize)).(settable)
	if !ok {
		return nil, errors.New("aescbc: the IV of this CBC mode cannot be set")
	}
	return &generic{mode}, nil
}

func (g *generic) Decrypt(dst, src, iv []byte) {
	check(dst, src, iv)
	g.mode.SetIV(iv)
	g.mode.CryptBlocks(dst, src)
}

func check(dst, src, iv []byte) {
	if len(src)%BlockSize != 0 || len(dst) < len(src) || len(iv) != BlockSize {
		panic(errLength)
	}
}
