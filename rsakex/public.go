// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/sha256"
	encoding_asn1 "encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// publicKey is an RSA public key as it stands in a certificate. Its exponent may be one that
// crypto/rsa refuses.
type publicKey struct{ n, e *big.Int }

var (
	oidRSA    = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidRSAPSS = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidX500   = encoding_asn1.ObjectIdentifier{2, 5, 8, 1, 1} // id-ea-rsa, in old certificates
	oidEC     = encoding_asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidDSA    = encoding_asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}
	oidEd     = encoding_asn1.ObjectIdentifier{1, 3, 101, 112}
	oidEd448  = encoding_asn1.ObjectIdentifier{1, 3, 101, 113}
)

// keyTypes names the public keys that are no RSA encryption keys.
var keyTypes = []struct {
	oid  encoding_asn1.ObjectIdentifier
	name string
}{
	{oidEC, "EC"}, {oidDSA, "DSA"}, {oidRSAPSS, "RSA-PSS"}, {oidEd, "Ed25519"}, {oidEd448, "Ed448"},
}

// keyType returns a name for people of an algorithm that is not RSA encryption.
func keyType(oid encoding_asn1.ObjectIdentifier) string {
	for _, t := range keyTypes {
		if oid.Equal(t.oid) {
			return t.name
		}
	}
	return "unknown (" + oid.String() + ")"
}

func isRSA(oid encoding_asn1.ObjectIdentifier) bool { return oid.Equal(oidRSA) || oid.Equal(oidX500) }

var errNotCertificate = errors.New("not a certificate in DER")

// publicKeyOf takes the RSA public key out of a certificate (RFC 5280, Section 4.1). It reads no
// more than it must, so that certificates which crypto/x509 refuses still match: servers send them.
func publicKeyOf(certDER []byte) (*publicKey, error) {
	input := cryptobyte.String(certDER)
	var cert, tbs, spki cryptobyte.String
	if !input.ReadASN1(&cert, asn1.SEQUENCE) || !cert.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) || // version
		!tbs.SkipASN1(asn1.INTEGER) || // serialNumber
		!tbs.SkipASN1(asn1.SEQUENCE) || // signature
		!tbs.SkipASN1(asn1.SEQUENCE) || // issuer
		!tbs.SkipASN1(asn1.SEQUENCE) || // validity
		!tbs.SkipASN1(asn1.SEQUENCE) || // subject
		!tbs.ReadASN1(&spki, asn1.SEQUENCE) {
		return nil, errNotCertificate
	}
	return parseSPKI(spki)
}

// parseSPKI parses the contents of a SubjectPublicKeyInfo (RFC 3279, Section 2.3.1).
func parseSPKI(spki cryptobyte.String) (*publicKey, error) {
	var algorithm cryptobyte.String
	var oid encoding_asn1.ObjectIdentifier
	var bits []byte
	if !spki.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!spki.ReadASN1BitStringAsBytes(&bits) {
		return nil, errNotCertificate
	}
	if !isRSA(oid) {
		return nil, fmt.Errorf("the certificate's public key is %s: it cannot be used for RSA key exchange", keyType(oid))
	}
	key := &publicKey{new(big.Int), new(big.Int)}
	inner := cryptobyte.String(bits)
	var numbers cryptobyte.String
	if !inner.ReadASN1(&numbers, asn1.SEQUENCE) || !numbers.ReadASN1Integer(key.n) ||
		!numbers.ReadASN1Integer(key.e) || key.n.Sign() <= 0 || key.e.Sign() <= 0 {
		return nil, errors.New("the certificate's RSA public key is damaged")
	}
	return key, nil
}

// id is the hash of the key's SubjectPublicKeyInfo in its usual encoding, so that a certificate
// with another one still finds its key.
func (k *publicKey) id() KeyID {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidRSA)
			b.AddASN1NULL()
		})
		b.AddASN1(asn1.BIT_STRING, func(b *cryptobyte.Builder) {
			b.AddUint8(0)
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1BigInt(k.n)
				b.AddASN1BigInt(k.e)
			})
		})
	})
	return sha256.Sum256(b.BytesOrPanic())
}
