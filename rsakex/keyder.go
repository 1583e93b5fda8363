// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	encoding_asn1 "encoding/asn1"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// errKeyType is about a private key that is no RSA key.
func errKeyType(name string) error {
	return fmt.Errorf("the private key is %s, which cannot open RSA key exchange: give the server's RSA key", name)
}

// openKeyDER opens a private key in any of its DER forms.
func openKeyDER(der, passphrase []byte) (keyNumbers, error) {
	switch sniff(der) {
	case formPKCS1:
		return parsePKCS1(der)
	case formPKCS8:
		return parsePKCS8(der)
	case formEC:
		return keyNumbers{}, errKeyType("EC")
	case formPBES:
		return openEncryptedPKCS8(der, passphrase)
	default:
		return keyNumbers{}, errUnknownFormat
	}
}

func openEncryptedPKCS8(der, passphrase []byte) (keyNumbers, error) {
	if len(passphrase) == 0 {
		return keyNumbers{}, errNeedPassphrase
	}
	plain, err := decryptPKCS8(der, passphrase)
	if err != nil {
		return keyNumbers{}, err
	}
	if sniff(plain) != formPKCS8 {
		return keyNumbers{}, errWrongPassphrase // the padding was right by chance
	}
	return parsePKCS8(plain)
}

// parsePKCS8 parses a PrivateKeyInfo (RFC 5208, Section 5).
func parsePKCS8(der []byte) (keyNumbers, error) {
	s := cryptobyte.String(der)
	var info, algorithm, key cryptobyte.String
	var oid encoding_asn1.ObjectIdentifier
	if !s.ReadASN1(&info, asn1.SEQUENCE) || !info.SkipASN1(asn1.INTEGER) ||
		!info.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!info.ReadASN1(&key, asn1.OCTET_STRING) {
		return keyNumbers{}, errDamaged
	}
	if !isRSA(oid) {
		return keyNumbers{}, errKeyType(keyType(oid))
	}
	return parsePKCS1(key)
}

// parsePKCS1 parses an RSAPrivateKey (RFC 8017, Appendix A.1.2), without its CRT values.
func parsePKCS1(der []byte) (keyNumbers, error) {
	s := cryptobyte.String(der)
	var seq cryptobyte.String
	var version uint
	if !s.ReadASN1(&seq, asn1.SEQUENCE) || !seq.ReadASN1Integer(&version) {
		return keyNumbers{}, errDamaged
	}
	if version > 0 {
		return keyNumbers{}, errMultiPrime
	}
	var numbers [5]*big.Int // n, e, d, p, q
	for i := range numbers {
		n, ok := readUnsigned(&seq)
		if !ok {
			return keyNumbers{}, errDamaged
		}
		numbers[i] = n
	}
	return keyNumbers{n: numbers[0], e: numbers[1], d: numbers[2], p: numbers[3], q: numbers[4]}, nil
}

// readUnsigned reads an INTEGER that cannot be negative, also where its encoder forgot the zero
// byte that says so, or wrote too many of them.
func readUnsigned(s *cryptobyte.String) (*big.Int, bool) {
	var b cryptobyte.String
	if !s.ReadASN1(&b, asn1.INTEGER) || len(b) == 0 {
		return nil, false
	}
	return new(big.Int).SetBytes(b), true
}
