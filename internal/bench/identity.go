// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"

	"github.com/sightglass/sightglass/internal/forge"
)

// The files of certificates and keys in the run's folder.
const (
	serverCert = "server.pem"
	serverKey  = "server.key"
	bothFile   = "server-both.pem" // as HAProxy wants them
	clientCert = "client-ca.pem"
)

// weakBits is the size of the key of the server behind a terminating proxy. The private operation is the
// server's own there, and must not count against the proxy.
const weakBits = 512

// makeIdentities makes the certificates of a run.
func makeIdentities(dir string) error {
	var ids identities
	for _, i := range []struct {
		to   *savedIdentity
		name string
		bits int
	}{{&ids.Server, "bench.example", 2048}, {&ids.Weak, "weak.example", weakBits}, {&ids.Client, "client.example", 2048}} {
		key, cert := forge.Certificate(i.name, i.bits)
		if err := i.to.fill(key, cert); err != nil {
			return err
		}
	}
	b, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ids.Server.Cert})
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: ids.Server.Key})
	for name, b := range map[string][]byte{
		identityFile: b, serverCert: cert, serverKey: key, bothFile: append(cert, key...),
		clientCert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ids.Client.Cert}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *savedIdentity) fill(key *rsa.PrivateKey, cert []byte) (err error) {
	s.Cert, s.Key = cert, x509.MarshalPKCS1PrivateKey(key)
	s.Premaster = make([]byte, 48)
	rand.Read(s.Premaster)
	s.Premaster[0], s.Premaster[1] = byte(version>>8), byte(version&0xff)
	if key.N.BitLen() > weakBits {
		//lint:ignore SA1019 it is RSA key exchange that is measured
		s.Sealed, err = rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, s.Premaster)
	}
	return err
}

// identity returns what handshakes are made with.
func (s *savedIdentity) identity() (*identity, error) {
	key, err := x509.ParsePKCS1PrivateKey(s.Key)
	if err != nil {
		return nil, err
	}
	return &identity{cert: s.Cert, key: key, premaster: s.Premaster, sealed: s.Sealed}, nil
}
