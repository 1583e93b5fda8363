// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"time"

	"github.com/youmark/pkcs8"
	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// makeCerts writes what the scripts need of certificates and keys into the current directory.
func makeCerts([]string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	leaf, err := writePair("server", "server.example", key)
	if err != nil {
		return err
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	if _, err := writePair("other", "other.example", other); err != nil {
		return err
	}
	client, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	if _, err := writePair("client", "Alice", client); err != nil {
		return err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		return err
	}
	encrypted, err := pkcs8.MarshalPrivateKey(key, []byte("secret"), nil)
	if err != nil {
		return err
	}
	bundle, err := pkcs12.Modern.Encode(key, leaf, nil, "secret")
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"ec.key":        pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ecDER}),
		"encrypted.key": pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: encrypted}),
		"server.der":    x509.MarshalPKCS1PrivateKey(key),
		"server.p12":    bundle,
		"pass":          []byte("secret\n"),
		"wrongpass":     []byte("guess\n"),
		"garbage":       []byte("this is neither a key nor a capture\n"),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writePair writes NAME.pem and NAME.key.
func writePair(name, commonName string, key *rsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		DNSNames:     []string{"server.example"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(name+".pem", certPEM, 0o600); err != nil {
		return nil, err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(name+".key", keyPEM, 0o600); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
