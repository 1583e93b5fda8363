// SPDX-License-Identifier: Apache-2.0

//go:debug rsa1024min=0

package rsakex

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantHex(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != want {
		t.Errorf("%s: %x, want %s", what, got, want)
	}
}

// lazyKey returns a key of the given size, made once.
func lazyKey(bits int) func(testing.TB) *rsa.PrivateKey {
	key := sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, bits) })
	return func(t testing.TB) *rsa.PrivateKey {
		t.Helper()
		k, err := key()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
}

var (
	key512     = lazyKey(512)
	key1024    = lazyKey(1024)
	key2048    = lazyKey(2048)
	key2048too = lazyKey(2048)
	key3072    = lazyKey(3072)
)

// certFor makes a self-signed certificate for a key; change may be nil.
func certFor(t testing.TB, key *rsa.PrivateKey, change func(*x509.Certificate)) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:       big.NewInt(1),
		Subject:            pkix.Name{CommonName: "server.example"},
		NotBefore:          time.Unix(0, 0),
		NotAfter:           time.Unix(1<<33, 0),
		SignatureAlgorithm: x509.SHA256WithRSA,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func ringOf(t testing.TB, keys ...*rsa.PrivateKey) *Ring {
	t.Helper()
	r := new(Ring)
	for _, k := range keys {
		if err := r.Add("test", nil, k); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// seal encrypts a premaster secret, or anything else, as a client does (RFC 8017, Section 7.2.1).
func seal(t testing.TB, key *rsa.PrivateKey, premaster []byte) []byte {
	t.Helper()
	em := make([]byte, key.Size())
	padding := em[2 : len(em)-len(premaster)-1]
	rand.Read(padding)
	for i := range padding {
		padding[i] |= 1
	}
	em[1] = 2
	copy(em[len(em)-len(premaster):], premaster)
	return sealRaw(key, em)
}

// sealRaw encrypts a whole padded message, which may be wrong in any way.
func sealRaw(key *rsa.PrivateKey, em []byte) []byte {
	m := new(big.Int).SetBytes(em)
	return m.Exp(m, big.NewInt(int64(key.E)), key.N).FillBytes(make([]byte, key.Size()))
}

func testPremaster() []byte {
	p := make([]byte, premasterLen)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}

func testRandoms() (client, server handshake.Random) {
	for i := range client {
		client[i], server[i] = 0xc0^byte(i), 0x50^byte(i)
	}
	return client, server
}

func testRequest(id KeyID, encrypted []byte) Request {
	client, server := testRandoms()
	return Request{Key: id, Version: handshake.TLS12, ClientVersion: handshake.TLS12,
		EncryptedPremaster: encrypted, Client: client, Server: server}
}

func mustMaster(t testing.TB, s *Secret) []byte {
	t.Helper()
	m, err := s.Master()
	if err != nil {
		t.Fatal(err)
	}
	if len(m) != MasterSecretLen || bytes.Equal(m, make([]byte, MasterSecretLen)) {
		t.Fatalf("a master secret of %d bytes", len(m))
	}
	return m
}

func suiteOf(t testing.TB, id uint16) *handshake.Suite {
	t.Helper()
	s, ok := handshake.SuiteByID(id)
	if !ok {
		t.Fatalf("no suite %#04x", id)
	}
	return s
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// byFours makes batches of four, of any processor, for a test that counts.
func byFours(t *testing.T) {
	before := batchSize
	batchSize = 4
	t.Cleanup(func() { batchSize = before })
}
