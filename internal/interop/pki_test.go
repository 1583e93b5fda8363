// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"github.com/sightglass/sightglass/internal/nettest"
)

const (
	serverName    = "server.example"
	clientSubject = "alice" // the common name
	password      = "sightglass"
)

// identity is a certificate and its key, in memory and as files.
type identity struct {
	name string // also the nickname in the NSS database
	cert *x509.Certificate
	key  *rsa.PrivateKey

	certFile, keyFile, chainFile string // PEM; the chain is certificate and issuer
}

// pki is all the certificates of a run.
type pki struct {
	ca     *identity
	server *identity
	other  *identity // a server of that name, too, which the box is not given
	weak   *identity // 512 bits: what export suites demand
	client *identity
	// bigChain is server's chain with enough beside it to make 64 KiB.
	bigChain string
}

var loadPKI = sync.OnceValues(func() (*pki, error) {
	p := &pki{}
	var err error
	if p.ca, err = newIdentity("ca", "Interop CA", 2048, nil, nil); err != nil {
		return nil, err
	}
	for _, id := range []struct {
		to         **identity
		name, host string
		bits       int
	}{
		{&p.server, "server", serverName, 2048},
		{&p.other, "other", serverName, 2048},
		{&p.weak, "weak", serverName, 512},
		{&p.client, "client", clientSubject, 2048},
	} {
		if *id.to, err = newIdentity(id.name, id.host, id.bits, p.ca, nil); err != nil {
			return nil, err
		}
	}
	return p, p.makeBigChain()
})

// certificates makes the run's certificates, once.
func certificates(t testing.TB) *pki {
	t.Helper()
	p, err := loadPKI()
	must(t, err)
	return p
}

// newIdentity makes a key and a certificate signed by an issuer, or by itself. The ballast is put
// into the certificate to make it large.
func newIdentity(name, commonName string, bits int, issuer *identity, ballast []byte) (*identity, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// NSS gives certificates of one subject one nickname, so they differ.
		Subject:   pkix.Name{OrganizationalUnit: []string{name}, CommonName: commonName},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(24 * time.Hour),
		// Not what a certificate authority needs alone: the same template serves servers and clients.
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		SignatureAlgorithm:    x509.SHA256WithRSA,
	}
	signer := &identity{cert: template, key: key}
	if issuer == nil {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	} else {
		signer = issuer
		template.DNSNames = []string{commonName}
		template.IPAddresses = []net.IP{nettest.Server4.AsSlice(), nettest.Server6.AsSlice()}
	}
	if len(ballast) > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: ballast}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, &key.PublicKey, signer.key)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	id := &identity{name: name, key: key}
	if id.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return id, id.write(issuer)
}

func (id *identity) write(issuer *identity) error {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(id.key)
	if err != nil {
		return err
	}
	dir := filepath.Join(scratch, "pki")
	id.certFile = filepath.Join(dir, id.name+".pem")
	id.keyFile = filepath.Join(dir, id.name+".key")
	id.chainFile = filepath.Join(dir, id.name+"-chain.pem")
	cert := pemBlock("CERTIFICATE", id.cert.Raw)
	chain := cert
	if issuer != nil {
		chain = append(append([]byte(nil), cert...), pemBlock("CERTIFICATE", issuer.cert.Raw)...)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for path, data := range map[string][]byte{
		id.certFile: cert, id.keyFile: pemBlock("PRIVATE KEY", pkcs8), id.chainFile: chain,
	} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// makeBigChain puts certificates of 15 KiB behind the server's: no client uses them, all get them.
func (p *pki) makeBigChain() error {
	chain, err := os.ReadFile(p.server.chainFile)
	if err != nil {
		return err
	}
	ballast, err := asn1.Marshal(make([]byte, 15<<10))
	if err != nil {
		return err
	}
	for i := range 4 {
		id, err := newIdentity(fmt.Sprintf("ballast%d", i), "ballast", 1024, p.ca, ballast)
		if err != nil {
			return err
		}
		chain = append(chain, pemBlock("CERTIFICATE", id.cert.Raw)...)
	}
	p.bigChain = filepath.Join(scratch, "pki", "big-chain.pem")
	return os.WriteFile(p.bigChain, chain, 0o644)
}

// loadNSS makes the database that NSS's programs take their certificates from, once.
var loadNSS = sync.OnceValues(func() (string, error) {
	p, err := loadPKI()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(scratch, "nss")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	db := "sql:" + dir
	steps := [][]string{
		{"certutil", "-N", "-d", db, "--empty-password"},
		{"certutil", "-A", "-d", db, "-n", "ca", "-t", "CT,C,C", "-i", p.ca.certFile},
	}
	for _, id := range []*identity{p.server, p.other, p.client} {
		file := filepath.Join(dir, id.name+".p12")
		data, err := pkcs12.LegacyDES.Encode(id.key, id.cert, nil, password)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return "", err
		}
		steps = append(steps,
			[]string{"certutil", "-A", "-d", db, "-n", id.name, "-t", ",,", "-i", id.certFile},
			[]string{"pk12util", "-i", file, "-d", db, "-W", password, "-K", ""})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, step := range steps {
		if out, err := exec.CommandContext(ctx, step[0], step[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", step, err, out)
		}
	}
	return db, nil
})
