// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
)

// KeyFile names the files of one certificate and its private key. Either may be missing; one file
// may hold both, under either name.
type KeyFile struct {
	Cert           string // PEM, DER or PKCS #12
	Key            string // PEM, DER or PKCS #12; PKCS #1 or PKCS #8
	PassphraseFile string // its first line is the passphrase; "": none
}

// LoadRing reads the files. An error is one line that names the file and says what to do.
func LoadRing(files []KeyFile) (*Ring, error) {
	l := &loader{ring: new(Ring), files: make(map[string]*file)}
	l.ring.init()
	for _, f := range files {
		if err := l.load(f); err != nil {
			return nil, err
		}
	}
	return l.ring, nil
}

// loader fills a ring from files. Each is read once, since it may be a pipe.
type loader struct {
	ring  *Ring
	files map[string]*file
}

type file struct {
	data   []byte
	mode   fs.FileMode
	warned bool
}

// part is one file of a KeyFile: its path and what is in it.
type part struct {
	path string
	*contents
}

func (l *loader) load(f KeyFile) error {
	if f.Cert == "" && f.Key == "" {
		return errors.New("a key pair needs the file of a certificate or of a private key")
	}
	passphrase, err := l.passphrase(f.PassphraseFile)
	if err != nil {
		return err
	}
	cert, err := l.part(f.Cert, passphrase)
	if err != nil {
		return err
	}
	key, err := l.part(f.Key, passphrase)
	if err != nil {
		return err
	}
	if err := checkRoles(cert, key); err != nil {
		return err
	}
	// A file on its own may hold both.
	if cert.contents == nil {
		cert = part{key.path, &contents{certs: key.certs}}
	}
	if key.contents == nil {
		key = part{cert.path, &contents{keys: cert.keys}}
	}
	keys, err := l.openKeys(key, passphrase)
	if err != nil {
		return err
	}
	return l.pairUp(cert, key, keys)
}

// part reads one file; for an empty path its contents are nil.
func (l *loader) part(path string, passphrase []byte) (part, error) {
	if path == "" {
		return part{}, nil
	}
	f, err := l.read(path)
	if err != nil {
		return part{}, err
	}
	c, err := parseContents(f.data, passphrase)
	if err != nil {
		return part{}, fmt.Errorf("%s: %w", path, err)
	}
	return part{path, c}, nil
}

func (l *loader) read(path string) (*file, error) {
	if f, ok := l.files[path]; ok {
		return f, nil
	}
	data, mode, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &file{data: data, mode: mode}
	l.files[path] = f
	return f, nil
}

// passphrase returns the first line of a file, without its end.
func (l *loader) passphrase(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := l.read(path)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(bytes.TrimPrefix(f.data, utf8BOM), []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil, fmt.Errorf("%s: the first line is empty: it must be the passphrase", path)
	}
	return line, nil
}

// checkRoles finds files that were given for what they are not.
func checkRoles(cert, key part) error {
	noCert := cert.contents != nil && len(cert.certs) == 0
	noKey := key.contents != nil && len(key.keys) == 0
	switch {
	case noCert && noKey && len(cert.keys) > 0 && len(key.certs) > 0:
		return fmt.Errorf("%s: this is the private key and %s the certificate: exchange the two", cert.path, key.path)
	case noCert && len(cert.keys) > 0:
		return fmt.Errorf("%s: this is a private key, not a certificate: give it as the key", cert.path)
	case noCert:
		return fmt.Errorf("%s: no certificate in it%s", cert.path, cert.found())
	case noKey && len(key.certs) > 0:
		return fmt.Errorf("%s: this is a certificate, not a private key: give it as the certificate, and here the private key that belongs to it", key.path)
	case noKey:
		return fmt.Errorf("%s: no private key in it%s", key.path, key.found())
	}
	return nil
}

func (c *contents) found() string {
	if len(c.other) == 0 {
		return ""
	}
	return " (but " + strings.Join(c.other, ", ") + ")"
}

// openKeys opens the RSA keys of a file. Where there is one, keys of other types beside it are only
// warned of.
func (l *loader) openKeys(from part, passphrase []byte) ([]*privateKey, error) {
	var keys []*privateKey
	var failed error
	for _, open := range from.keys {
		numbers, err := open(passphrase)
		var key *privateKey
		if err == nil {
			key, err = newPrivateKey(numbers)
		}
		if err != nil {
			failed = fmt.Errorf("%s: %w", from.path, err)
			continue
		}
		key.source = from.path
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, failed
	}
	if failed != nil {
		l.ring.warn("%v: this key is not used, but another in the file is", failed)
	}
	l.warnMode(from.path)
	return keys, nil
}

func (l *loader) warnMode(path string) {
	f := l.files[path]
	if f.warned || runtime.GOOS == "windows" || !f.mode.IsRegular() || f.mode.Perm()&0o004 == 0 {
		return
	}
	f.warned = true
	l.ring.warn("%s: every user of this machine can read this private key: chmod o-r", path)
}

// pairUp adds keys with the certificates they fit. Other certificates of a file with keys are those
// of its chain, and left alone.
func (l *loader) pairUp(cert, key part, keys []*privateKey) error {
	if len(keys) == 0 {
		return l.addCertificates(cert)
	}
	fits := 0
	var alone []*privateKey
	for _, k := range keys {
		n, err := l.addFitting(cert, k)
		if err != nil {
			return err
		}
		if n == 0 {
			alone = append(alone, k)
		}
		fits += n
	}
	if fits == 0 && len(cert.certs) > 0 {
		return explainNoFit(cert, key)
	}
	for _, k := range alone {
		if err := l.ring.add(key.path, nil, k); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) addFitting(cert part, k *privateKey) (n int, err error) {
	for _, der := range cert.certs {
		public, err := publicKeyOf(der)
		if err != nil || public.id() != k.id {
			continue
		}
		if err := l.ring.add(cert.path, der, k); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func explainNoFit(cert, key part) error {
	if _, err := publicKeyOf(cert.certs[0]); err != nil {
		return fmt.Errorf("%s: %w", cert.path, err)
	}
	if cert.path == key.path {
		return fmt.Errorf("%s: %w in the same file", cert.path, errNoFit)
	}
	return fmt.Errorf("%s: %w in %s: give the key that the certificate was made for", key.path, errNoFit, cert.path)
}

// addCertificates adds certificates without a key: the first, and others that are no authorities'.
func (l *loader) addCertificates(from part) error {
	for i, der := range from.certs {
		if i > 0 {
			c, err := x509.ParseCertificate(der)
			if err != nil || c.IsCA {
				continue
			}
		}
		if err := l.ring.add(from.path, der, nil); err != nil {
			return err
		}
	}
	return nil
}
