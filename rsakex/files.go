// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxFileSize bounds a file with certificates or keys, in bytes.
const maxFileSize = 4 << 20

// contents is what a file of certificates and keys holds.
type contents struct {
	certs [][]byte // DER
	keys  []foundKey
	other []string // names of what else is in it, for people
}

// foundKey opens a key that a file holds: only then its passphrase is needed. The error is about
// the key alone, and does not name the file.
type foundKey func(passphrase []byte) (keyNumbers, error)

var (
	errNeedPassphrase  = errors.New("the private key is encrypted: give a file with its passphrase")
	errWrongPassphrase = errors.New("wrong passphrase for the private key")
	errUnknownFormat   = errors.New("neither PEM, DER nor PKCS #12 with a certificate or private key")
)

// readFile reads a small file, which may be a pipe. Its errors do not name it.
func readFile(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, explainOpen(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, explainOpen(err)
	}
	if info.IsDir() {
		return nil, 0, errors.New("is a directory: name a file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, 0, explainOpen(err)
	}
	if len(data) > maxFileSize {
		return nil, 0, errors.New("too large for a file of certificates and keys")
	}
	return data, info.Mode(), nil
}

func explainOpen(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("no such file")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("permission denied: give it to the user this program runs as")
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

var utf8BOM = []byte("\xef\xbb\xbf")

// parseContents finds what data holds. The passphrase is for PKCS #12, whose certificates are
// encrypted as well; elsewhere it is not needed yet.
func parseContents(data, passphrase []byte) (*contents, error) {
	data = bytes.TrimPrefix(data, utf8BOM)
	c := new(contents)
	blocks := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		blocks++
		c.addPEM(block)
	}
	switch {
	case blocks > 0:
		return c, nil
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return nil, errors.New("damaged PEM: a block that begins does not end or is no base64")
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("the file is empty")
	}
	return c, c.addDER(data, passphrase)
}

func (c *contents) addPEM(b *pem.Block) {
	switch {
	case b.Type == "CERTIFICATE" || b.Type == "X509 CERTIFICATE":
		c.certs = append(c.certs, b.Bytes)
	case b.Type == "TRUSTED CERTIFICATE":
		c.certs = append(c.certs, firstElement(b.Bytes)) // OpenSSL's, with its trust behind it
	case b.Type == "OPENSSH PRIVATE KEY":
		c.addBadKey("an OpenSSH key: convert it with ssh-keygen -p -m PEM")
	case strings.HasSuffix(b.Type, "PRIVATE KEY"):
		c.keys = append(c.keys, func(passphrase []byte) (keyNumbers, error) {
			return openPEM(b, passphrase)
		})
	default:
		c.other = append(c.other, b.Type)
	}
}

func (c *contents) addBadKey(what string) {
	c.keys = append(c.keys, func([]byte) (keyNumbers, error) {
		return keyNumbers{}, errors.New(what)
	})
}

// firstElement returns the first ASN.1 element of der, or all of it if that is none.
func firstElement(der []byte) []byte {
	s := cryptobyte.String(der)
	var first cryptobyte.String
	var tag asn1.Tag
	if s.ReadAnyASN1Element(&first, &tag) {
		return first
	}
	return der
}

// openPEM opens a private key block.
func openPEM(b *pem.Block, passphrase []byte) (keyNumbers, error) {
	der := b.Bytes
	info, legacy := b.Headers["DEK-Info"]
	if !legacy {
		return openKeyDER(der, passphrase)
	}
	if len(passphrase) == 0 {
		return keyNumbers{}, errNeedPassphrase
	}
	der, err := decryptLegacyPEM(info, der, passphrase)
	if err != nil {
		return keyNumbers{}, err
	}
	key, err := openKeyDER(der, nil)
	if errors.Is(err, errUnknownFormat) {
		err = errWrongPassphrase // the padding was right by chance
	}
	return key, err
}

// addDER adds what a file in DER holds.
func (c *contents) addDER(data, passphrase []byte) error {
	der := firstElement(data)
	if pfx := toDER(data); sniff(pfx) == formPKCS12 {
		return c.addPKCS12(pfx, passphrase)
	}
	switch sniff(der) {
	case formCertificate:
		c.certs = append(c.certs, der)
	case formUnknown:
		return errUnknownFormat
	default:
		c.keys = append(c.keys, func(passphrase []byte) (keyNumbers, error) {
			return openKeyDER(der, passphrase)
		})
	}
	return nil
}

// form is what a DER element is.
type form int

const (
	formUnknown form = iota
	formCertificate
	formPKCS1  // SEQUENCE { INTEGER 0 or 1, INTEGER, … }
	formPKCS8  // SEQUENCE { INTEGER 0 or 1, SEQUENCE, OCTET STRING, … }
	formPBES   // SEQUENCE { SEQUENCE { OID, … }, OCTET STRING }
	formPKCS12 // SEQUENCE { INTEGER 3, SEQUENCE, … }
	formEC     // SEQUENCE { INTEGER 1, OCTET STRING, … }
)

// sniff tells the forms apart by their first elements.
func sniff(der []byte) form {
	s := cryptobyte.String(der)
	var seq cryptobyte.String
	if !s.ReadASN1(&seq, asn1.SEQUENCE) {
		return formUnknown
	}
	if seq.PeekASN1Tag(asn1.SEQUENCE) {
		if _, err := publicKeyOf(der); !errors.Is(err, errNotCertificate) {
			return formCertificate
		}
		if seq.SkipASN1(asn1.SEQUENCE) && seq.PeekASN1Tag(asn1.OCTET_STRING) {
			return formPBES
		}
		return formUnknown
	}
	var version int
	if !seq.ReadASN1Integer(&version) {
		return formUnknown
	}
	switch {
	case version == 3 && seq.PeekASN1Tag(asn1.SEQUENCE):
		return formPKCS12
	case seq.PeekASN1Tag(asn1.SEQUENCE):
		return formPKCS8
	case seq.PeekASN1Tag(asn1.OCTET_STRING):
		return formEC
	case seq.PeekASN1Tag(asn1.INTEGER):
		return formPKCS1
	}
	return formUnknown
}
