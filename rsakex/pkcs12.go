// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	encoding_asn1 "encoding/asn1"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// PKCS #12 (RFC 7292) is read here, and not by the module for it, which knows neither BER nor several
// keys in a file nor a key without a certificate.

// maxBags bounds how many keys, certificates and other things a PKCS #12 file may hold.
const maxBags = 1000

var (
	errPKCS12           = errors.New("the PKCS #12 file is damaged")
	errPKCS12Passphrase = errors.New("wrong passphrase for the PKCS #12 file")
)

var (
	oidPKCS7Data      = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidPKCS7Encrypted = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	oidX509           = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 22, 1}
	oidPBMAC1         = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14}
)

// What a bag holds (RFC 7292, Section 4.2).
const (
	bagKey          = "1.2.840.113549.1.12.10.1.1"
	bagShroudedKey  = "1.2.840.113549.1.12.10.1.2"
	bagCert         = "1.2.840.113549.1.12.10.1.3"
	bagSafeContents = "1.2.840.113549.1.12.10.1.6"
)

// explicit0 is the tag of what stands in a ContentInfo and a SafeBag.
var explicit0 = asn1.Tag(0).ContextSpecific().Constructed()

// pfx is a PKCS #12 file that is being opened.
type pfx struct {
	passphrase []byte // nil and empty are not the same, see bmpString
	bags       int
	contents   // what was found
}

// addPKCS12 opens a PKCS #12 file in DER, whose passphrase may be empty.
func (c *contents) addPKCS12(der, passphrase []byte) error {
	tries := [][]byte{passphrase, {}, nil} // perhaps the passphrase is not needed
	if len(passphrase) == 0 {
		tries = tries[1:]
	}
	var first error
	for _, t := range tries {
		p := &pfx{passphrase: t}
		err := p.open(der)
		if err == nil {
			c.certs = append(c.certs, p.certs...)
			c.keys = append(c.keys, p.keys...)
			c.other = append(c.other, p.other...)
			return nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, errPKCS12Passphrase) {
			break
		}
	}
	if errors.Is(first, errPKCS12Passphrase) && len(passphrase) == 0 {
		return errors.New("the PKCS #12 file is encrypted: give a file with its passphrase")
	}
	return first
}

// open reads a PFX (RFC 7292, Section 4).
func (p *pfx) open(der []byte) error {
	s := cryptobyte.String(der)
	var seq, info, content cryptobyte.String
	var version int
	var oid encoding_asn1.ObjectIdentifier
	if !s.ReadASN1(&seq, asn1.SEQUENCE) || !seq.ReadASN1Integer(&version) || !seq.ReadASN1(&info, asn1.SEQUENCE) ||
		!info.ReadASN1ObjectIdentifier(&oid) || !info.ReadASN1(&content, explicit0) {
		return errPKCS12
	}
	if !oid.Equal(oidPKCS7Data) {
		return errors.New("the PKCS #12 file is for the holder of a key, not of a passphrase: convert it with openssl pkcs12")
	}
	var safe cryptobyte.String
	if !content.ReadASN1(&safe, asn1.OCTET_STRING) {
		return errPKCS12
	}
	if !seq.Empty() {
		if err := p.checkMAC(seq, safe); err != nil {
			return err
		}
	}
	if err := p.authenticatedSafe(safe); err != nil {
		return err
	}
	if len(p.certs)+len(p.keys)+len(p.other) == 0 {
		return errors.New("the PKCS #12 file is empty")
	}
	return nil
}

// checkMAC checks a MacData (RFC 7292, Section 4 and Appendix A): that the passphrase is right.
func (p *pfx) checkMAC(s cryptobyte.String, content []byte) error {
	var data, info, algorithm cryptobyte.String
	var oid encoding_asn1.ObjectIdentifier
	var digest, salt []byte
	iterations := 1
	if !s.ReadASN1(&data, asn1.SEQUENCE) || !data.ReadASN1(&info, asn1.SEQUENCE) ||
		!info.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!info.ReadASN1Bytes(&digest, asn1.OCTET_STRING) || !data.ReadASN1Bytes(&salt, asn1.OCTET_STRING) ||
		!data.Empty() && !data.ReadASN1Integer(&iterations) {
		return errPKCS12
	}
	var mac hash.Hash
	if oid.Equal(oidPBMAC1) {
		var err error
		if mac, err = p.pbmac1(algorithm); err != nil {
			return err
		}
	} else {
		newHash, ok := pkcs12Hashes[oid.String()]
		switch {
		case iterations < 1, iterations > maxIterations:
			return errPKCS12
		case !ok:
			return fmt.Errorf("the PKCS #12 file's integrity check is not supported (%v): convert it with openssl pkcs12", oid)
		}
		mac = hmac.New(newHash, pkcs12Derive(newHash, 3, p.passphrase, salt, iterations, newHash().Size()))
	}
	mac.Write(content)
	if !hmac.Equal(mac.Sum(nil), digest) {
		return errPKCS12Passphrase
	}
	return nil
}

var pkcs12Hashes = map[string]func() hash.Hash{
	"1.3.14.3.2.26":          sha1.New,
	"2.16.840.1.101.3.4.2.1": sha256.New,
	"2.16.840.1.101.3.4.2.2": sha512.New384,
	"2.16.840.1.101.3.4.2.3": sha512.New,
	"2.16.840.1.101.3.4.2.4": sha256.New224,
}

// pbmac1 is RFC 9579, with a key as long as the hash, as its Section 5 recommends.
func (p *pfx) pbmac1(algorithm cryptobyte.String) (hash.Hash, error) {
	var params, kdf, mac cryptobyte.String
	var oid encoding_asn1.ObjectIdentifier
	if !algorithm.ReadASN1(&params, asn1.SEQUENCE) || !params.ReadASN1(&kdf, asn1.SEQUENCE) ||
		!params.ReadASN1(&mac, asn1.SEQUENCE) || !mac.ReadASN1ObjectIdentifier(&oid) {
		return nil, errPKCS12
	}
	newHash, ok := pbkdf2Hashes[oid.String()]
	if !ok {
		return nil, errPBESUnsupported("hash", oid)
	}
	key, err := pbes2Key(kdf, p.passphrase, newHash().Size())
	if err != nil {
		return nil, err
	}
	return hmac.New(newHash, key), nil
}

// authenticatedSafe reads what the file holds, part by part (RFC 7292, Section 4.1).
func (p *pfx) authenticatedSafe(ber []byte) error {
	s := cryptobyte.String(toDER(ber))
	var parts cryptobyte.String
	if !s.ReadASN1(&parts, asn1.SEQUENCE) {
		return errPKCS12
	}
	for !parts.Empty() {
		var info, content cryptobyte.String
		var oid encoding_asn1.ObjectIdentifier
		if !parts.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&oid) || !info.ReadASN1(&content, explicit0) {
			return errPKCS12
		}
		var bags []byte
		var err error
		switch {
		case oid.Equal(oidPKCS7Data):
			if !content.ReadASN1Bytes(&bags, asn1.OCTET_STRING) {
				return errPKCS12
			}
		case oid.Equal(oidPKCS7Encrypted):
			if bags, err = p.decryptPart(content); err != nil {
				return err
			}
		default:
			p.other = append(p.other, "what is encrypted to a key")
			continue
		}
		if err := p.safeContents(toDER(bags), maxBERDepth); err != nil {
			return err
		}
	}
	return nil
}

// decryptPart opens an EncryptedData (RFC 2315, Section 13).
func (p *pfx) decryptPart(s cryptobyte.String) ([]byte, error) {
	var data, info, algorithm cryptobyte.String
	if !s.ReadASN1(&data, asn1.SEQUENCE) || !data.SkipASN1(asn1.INTEGER) || !data.ReadASN1(&info, asn1.SEQUENCE) ||
		!info.SkipASN1(asn1.OBJECT_IDENTIFIER) || !info.ReadASN1(&algorithm, asn1.SEQUENCE) {
		return nil, errPKCS12
	}
	encrypted, ok := readImplicitOctets(&info, 0)
	if !ok {
		return nil, errPKCS12
	}
	plain, err := decryptPBES(algorithm, encrypted, p.passphrase)
	return plain, p.explain(err)
}

// explain says of the whole file what is said of a key in it.
func (p *pfx) explain(err error) error {
	if errors.Is(err, errWrongPassphrase) {
		return errPKCS12Passphrase
	}
	return err
}

// safeContents reads bags, and those in them.
func (p *pfx) safeContents(der []byte, depth int) error {
	s := cryptobyte.String(der)
	var bags cryptobyte.String
	if depth == 0 || !s.ReadASN1(&bags, asn1.SEQUENCE) {
		return errPKCS12
	}
	for !bags.Empty() {
		var bag, value cryptobyte.String
		var oid encoding_asn1.ObjectIdentifier
		if !bags.ReadASN1(&bag, asn1.SEQUENCE) || !bag.ReadASN1ObjectIdentifier(&oid) || !bag.ReadASN1(&value, explicit0) {
			return errPKCS12
		}
		if p.bags++; p.bags > maxBags {
			return fmt.Errorf("the PKCS #12 file holds more than %d things", maxBags)
		}
		if err := p.bag(oid.String(), value, depth); err != nil {
			return err
		}
	}
	return nil
}

func (p *pfx) bag(kind string, value cryptobyte.String, depth int) error {
	switch kind {
	case bagKey:
		p.addPKCS8(value)
	case bagShroudedKey:
		plain, err := decryptPKCS8(value, p.passphrase)
		switch err = p.explain(err); {
		case errors.Is(err, errPKCS12Passphrase):
			return err
		case err != nil:
			p.addBadKey(err.Error())
		default:
			p.addPKCS8(plain)
		}
	case bagCert:
		var cert cryptobyte.String
		if !value.ReadASN1(&cert, asn1.SEQUENCE) {
			return errPKCS12
		}
		return p.certBag(cert)
	case bagSafeContents:
		return p.safeContents(value, depth-1)
	default:
		p.other = append(p.other, "a thing of type "+kind)
	}
	return nil
}

func (p *pfx) addPKCS8(der []byte) {
	p.keys = append(p.keys, func([]byte) (keyNumbers, error) { return parsePKCS8(der) })
}

func (p *pfx) certBag(s cryptobyte.String) error {
	var oid encoding_asn1.ObjectIdentifier
	var content cryptobyte.String
	var der []byte
	if !s.ReadASN1ObjectIdentifier(&oid) || !s.ReadASN1(&content, explicit0) {
		return errPKCS12
	}
	if !oid.Equal(oidX509) {
		p.other = append(p.other, "a certificate that is not X.509")
		return nil
	}
	if !content.ReadASN1Bytes(&der, asn1.OCTET_STRING) {
		return errPKCS12
	}
	p.certs = append(p.certs, der)
	return nil
}
