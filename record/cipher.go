// SPDX-License-Identifier: Apache-2.0

package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/rc4"
	"crypto/subtle"
	"fmt"

	"github.com/pion/dtls/v3/pkg/crypto/ccm"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/rc2"
	"github.com/sightglass/sightglass/record/internal/aescbc"
	"github.com/sightglass/sightglass/record/internal/aesgcm"
	"github.com/sightglass/sightglass/record/internal/aria"
	"github.com/sightglass/sightglass/record/internal/camellia"
	"github.com/sightglass/sightglass/record/internal/idea"
	"github.com/sightglass/sightglass/record/internal/seed"
)

const aeadNonceLen = 12

// newBlock returns the block cipher of a CBC or AEAD cipher.
func newBlock(c handshake.Cipher, key []byte) (cipher.Block, error) {
	switch c {
	case handshake.CipherRC2CBC40, handshake.CipherRC2CBC56:
		return rc2.NewCipher(key, 8*len(key)) // all of the final key counts, as OpenSSL and NSS have it
	case handshake.CipherDES40CBC, handshake.CipherDESCBC:
		return des.NewCipher(key)
	case handshake.Cipher3DESEDECBC:
		return des.NewTripleDESCipher(key)
	case handshake.CipherIDEACBC:
		return idea.NewCipher(key)
	case handshake.CipherSEEDCBC:
		return seed.NewCipher(key)
	case handshake.CipherCAMELLIA128CBC, handshake.CipherCAMELLIA256CBC,
		handshake.CipherCAMELLIA128GCM, handshake.CipherCAMELLIA256GCM:
		return camellia.NewCipher(key)
	case handshake.CipherARIA128CBC, handshake.CipherARIA256CBC,
		handshake.CipherARIA128GCM, handshake.CipherARIA256GCM:
		return aria.NewCipher(key)
	case handshake.CipherAES128CBC, handshake.CipherAES256CBC,
		handshake.CipherAES128GCM, handshake.CipherAES256GCM,
		handshake.CipherAES128CCM, handshake.CipherAES256CCM,
		handshake.CipherAES128CCM8, handshake.CipherAES256CCM8:
		return aes.NewCipher(key)
	default:
		return nil, fmt.Errorf("%w: cipher %d", ErrUnsupported, c)
	}
}

// newAEADOpener is newAEAD for opening alone, in the fastest way that the processor has.
func newAEADOpener(c handshake.Cipher, key []byte) (aeadOpener, error) {
	if c == handshake.CipherAES128GCM || c == handshake.CipherAES256GCM {
		if o := aesgcm.New(key); o != nil {
			return o, nil
		}
	}
	return newAEAD(c, key)
}

func newAEAD(c handshake.Cipher, key []byte) (cipher.AEAD, error) {
	if c == handshake.CipherCHACHA20POLY1305 {
		return chacha20poly1305.New(key)
	}
	block, err := newBlock(c, key)
	if err != nil {
		return nil, err
	}
	switch c {
	case handshake.CipherAES128CCM, handshake.CipherAES256CCM,
		handshake.CipherAES128CCM8, handshake.CipherAES256CCM8:
		return ccm.NewCCM(block, c.Params().TagLen, aeadNonceLen)
	default:
		return cipher.NewGCM(block)
	}
}

// newRC4 returns nil for the NULL cipher.
func newRC4(c handshake.Cipher, key []byte) (*rc4.Cipher, error) {
	if c == handshake.CipherNULL {
		return nil, nil
	}
	return rc4.NewCipher(key)
}

// cbcDecrypter decrypts whole blocks of src into dst, which do not overlap.
type cbcDecrypter interface {
	Decrypt(dst, src, iv []byte)
}

func newCBCDecrypter(c handshake.Cipher, key []byte) (cbcDecrypter, error) {
	if c == handshake.CipherAES128CBC || c == handshake.CipherAES256CBC {
		return aescbc.New(key)
	}
	block, err := newBlock(c, key)
	if err != nil {
		return nil, err
	}
	return &genericCBC{block, block.BlockSize()}, nil
}

// genericCBC keeps no IV, unlike crypto/cipher's, and so costs an idle flow less.
type genericCBC struct {
	block cipher.Block
	size  int
}

func (g *genericCBC) Decrypt(dst, src, iv []byte) {
	for i := 0; i < len(src); i += g.size {
		out := dst[i : i+g.size]
		g.block.Decrypt(out, src[i:])
		subtle.XORBytes(out, out, iv)
		iv = src[i : i+g.size]
	}
}
