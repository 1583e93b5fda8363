// SPDX-License-Identifier: Apache-2.0

// Package identity says who a peer proved to be: whether it holds the key of the certificate that
// it showed. It reads certificates and signatures, and holds no connection and no private key.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"errors"
	"fmt"

	_ "crypto/md5"    // MD5 and SHA-1 signatures up to TLS 1.1
	_ "crypto/sha256" // the hashes of TLS 1.2
	_ "crypto/sha512"

	"github.com/sightglass/sightglass/handshake"
)

// ErrUnsupported says that a signature of this kind cannot be checked.
var ErrUnsupported = errors.New("signature algorithm not supported")

var errSignature = errors.New("the signature is wrong")

// Proof is what a CertificateVerify signs.
type Proof struct {
	Version    handshake.Version
	Side       handshake.Side // who signs; TLS 1.3 says so in what is signed
	Transcript []byte         // all messages before the CertificateVerify, up to TLS 1.2
	Hash       []byte         // of the transcript: TLS 1.3; SSL 3.0's own MD5 and SHA-1 hashes
	Algorithm  uint16         // the SignatureScheme; 0 before TLS 1.2
	Signature  []byte
}

// Verify checks that the holder of the leaf's key signed the handshake (RFC 5246, Section 7.4.8;
// RFC 8446, Section 4.4.3; RFC 6101, Section 5.6.8). It returns nil, or what is wrong.
func Verify(leafDER []byte, p Proof) error {
	leaf, err := x509.ParseCertificate(leafDER)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	switch {
	case p.Version >= handshake.TLS13:
		return p.verifyScheme(leaf.PublicKey, signed13(p.Side, p.Hash))
	case p.Version == handshake.TLS12:
		return p.verifyScheme(leaf.PublicKey, p.Transcript)
	default:
		return p.verifyOld(leaf.PublicKey)
	}
}

// verifyOld checks the signatures of SSL 3.0 to TLS 1.1, whose hash follows from the key.
func (p Proof) verifyOld(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		digest := p.Hash
		if p.Version > handshake.SSL30 {
			digest = append(sum(crypto.MD5, p.Transcript), sum(crypto.SHA1, p.Transcript)...)
		}
		if rsa.VerifyPKCS1v15(k, crypto.MD5SHA1, digest, p.Signature) != nil {
			return errSignature
		}
		return nil
	case *ecdsa.PublicKey:
		digest := sum(crypto.SHA1, p.Transcript)
		if p.Version == handshake.SSL30 {
			if len(p.Hash) < sha1.Size {
				return ErrUnsupported
			}
			digest = p.Hash[len(p.Hash)-sha1.Size:]
		}
		return verifyECDSA(k, digest, p.Signature)
	}
	return ErrUnsupported
}

// The SignatureScheme registry (RFC 8446, Section 4.2.3): for TLS 1.2 its high byte is a hash and
// its low byte a signature algorithm (RFC 5246, Section 7.4.1.4.1).
const (
	schemeEd25519 = 0x0807

	signatureRSA   = 1
	signatureECDSA = 3
)

var schemeHashes = map[byte]crypto.Hash{
	1: crypto.MD5, 2: crypto.SHA1, 3: crypto.SHA224, 4: crypto.SHA256, 5: crypto.SHA384, 6: crypto.SHA512,
}

var pssHashes = map[uint16]crypto.Hash{
	0x0804: crypto.SHA256, 0x0805: crypto.SHA384, 0x0806: crypto.SHA512,
	0x0809: crypto.SHA256, 0x080a: crypto.SHA384, 0x080b: crypto.SHA512,
}

func (p Proof) verifyScheme(key crypto.PublicKey, message []byte) error {
	if p.Algorithm == schemeEd25519 {
		k, ok := key.(ed25519.PublicKey)
		if !ok {
			return errSignature
		}
		if !ed25519.Verify(k, message, p.Signature) {
			return errSignature
		}
		return nil
	}
	if h, ok := pssHashes[p.Algorithm]; ok {
		return verifyPSS(key, h, sum(h, message), p.Signature)
	}
	h, ok := schemeHashes[byte(p.Algorithm>>8)]
	switch {
	case p.Version >= handshake.TLS13 && byte(p.Algorithm) == signatureRSA:
		return errSignature // RFC 8446, Section 4.4.3
	case !ok:
		return fmt.Errorf("%w: 0x%04x", ErrUnsupported, p.Algorithm)
	}
	return verifyPlain(key, byte(p.Algorithm), h, sum(h, message), p.Signature)
}

func verifyPSS(key crypto.PublicKey, h crypto.Hash, digest, signature []byte) error {
	k, ok := key.(*rsa.PublicKey)
	if !ok {
		return errSignature
	}
	opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	if rsa.VerifyPSS(k, h, digest, signature, opts) != nil {
		return errSignature
	}
	return nil
}

func verifyPlain(key crypto.PublicKey, algorithm byte, h crypto.Hash, digest, signature []byte) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if algorithm != signatureRSA || rsa.VerifyPKCS1v15(k, h, digest, signature) != nil {
			return errSignature
		}
		return nil
	case *ecdsa.PublicKey:
		if algorithm != signatureECDSA {
			return errSignature
		}
		return verifyECDSA(k, digest, signature)
	}
	return ErrUnsupported
}

func verifyECDSA(k *ecdsa.PublicKey, digest, signature []byte) error {
	if !ecdsa.VerifyASN1(k, digest, signature) {
		return errSignature
	}
	return nil
}

func sum(h crypto.Hash, b []byte) []byte {
	s := h.New()
	s.Write(b)
	return s.Sum(nil)
}

// signed13 is what TLS 1.3 signs: 64 spaces, a context string, a zero and the transcript's hash.
func signed13(side handshake.Side, hash []byte) []byte {
	context := "TLS 1.3, client CertificateVerify"
	if side == handshake.Server {
		context = "TLS 1.3, server CertificateVerify"
	}
	b := make([]byte, 64, 64+len(context)+1+len(hash))
	for i := range b {
		b[i] = ' '
	}
	b = append(b, context...)
	b = append(b, 0)
	return append(b, hash...)
}
