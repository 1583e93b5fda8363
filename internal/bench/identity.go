// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/sightglass/sightglass/internal/forge"
)

// The files of certificates and keys in the run's folder.
const (
	serverCert = "server.pem"
	serverKey  = "server.key"
	bothFile   = "server-both.pem" // as HAProxy wants them
	clientCert = "client-ca.pem"
	behindCert = "behind-ca.pem" // who issued what the server behind has
)

// behindName is that of the server behind a program that terminates.
const behindName = "behind.example"

// makeIdentities makes the certificates of a run.
func makeIdentities(dir string) error {
	var ids identities
	for _, i := range []struct {
		to   *savedIdentity
		name string
	}{{&ids.Server, "bench.example"}, {&ids.Client, "client.example"}} {
		key, cert := forge.Certificate(i.name, 2048)
		if err := i.to.fill(key, cert); err != nil {
			return err
		}
	}
	ids.Behind.Primes = newPrimes()
	leaf, authority, err := issue(behindName, newManyPrimes(ids.Behind.Primes).public())
	if err != nil {
		return err
	}
	ids.Behind.Cert = leaf
	b, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	cert, key := pemCertificate(ids.Server.Cert), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: ids.Server.Key})
	for name, b := range map[string][]byte{
		identityFile: b, serverCert: cert, serverKey: key, bothFile: append(cert, key...),
		clientCert: pemCertificate(ids.Client.Cert), behindCert: pemCertificate(authority),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func pemCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue makes a certificate on a key, and that of the authority which issued it.
func issue(name string, public *rsa.PublicKey) (leaf, authority []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	valid := x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	root, own := valid, valid
	root.SerialNumber, root.Subject = big.NewInt(1), pkix.Name{CommonName: "bench authority"}
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	own.SerialNumber, own.Subject, own.DNSNames = big.NewInt(2), pkix.Name{CommonName: name}, []string{name}
	if authority, err = x509.CreateCertificate(rand.Reader, &root, &root, &key.PublicKey, key); err != nil {
		return nil, nil, err
	}
	leaf, err = x509.CreateCertificate(rand.Reader, &own, &root, public, key)
	return leaf, authority, err
}

func (s *savedIdentity) fill(key *rsa.PrivateKey, cert []byte) (err error) {
	s.Cert, s.Key = cert, x509.MarshalPKCS1PrivateKey(key)
	s.Premaster = make([]byte, 48)
	rand.Read(s.Premaster)
	s.Premaster[0], s.Premaster[1] = byte(version>>8), byte(version&0xff)
	//lint:ignore SA1019 it is RSA key exchange that is measured
	s.Sealed, err = rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, s.Premaster)
	return err
}

// identity returns what handshakes are made with.
func (s *savedIdentity) identity() (*identity, error) {
	if s.Primes != nil {
		return &identity{cert: s.Cert, many: newManyPrimes(s.Primes)}, nil
	}
	key, err := x509.ParsePKCS1PrivateKey(s.Key)
	if err != nil {
		return nil, err
	}
	return &identity{cert: s.Cert, key: key, premaster: s.Premaster, sealed: s.Sealed}, nil
}
