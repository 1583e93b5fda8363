// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	key, other := key1024(t), key2048(t)
	leaf := certFor(t, key, nil)
	renewed := certFor(t, key, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(2) })
	foreign := certFor(t, other, nil)
	r := new(Ring)
	if err := r.Add("a.pem", leaf, key); err != nil {
		t.Fatal(err)
	}
	if err := r.Add("b.pem", foreign, nil); err != nil {
		t.Fatal(err)
	}
	id := KeyID(sha256.Sum256(parsed(t, leaf).RawSubjectPublicKeyInfo))
	otherID := KeyID(sha256.Sum256(parsed(t, foreign).RawSubjectPublicKeyInfo))
	for _, test := range []struct {
		name        string
		leaf        []byte
		byPublicKey bool
		id          KeyID
		result      MatchResult
	}{
		{"configured", leaf, false, id, Matched},
		{"configured, by public key", leaf, true, id, Matched},
		{"renewed", renewed, false, KeyID{}, Mismatch},
		{"renewed, by public key", renewed, true, id, Matched},
		{"no key", foreign, false, otherID, NoKey},
		{"no key, by public key", foreign, true, otherID, NoKey},
		{"trailing byte", append(bytes.Clone(leaf), 0), false, KeyID{}, Mismatch},
		{"nothing", nil, false, KeyID{}, Mismatch},
		{"no certificate, by public key", []byte("hello"), true, KeyID{}, Mismatch},
	} {
		if got, result := r.Match(test.leaf, test.byPublicKey); got != test.id || result != test.result {
			t.Errorf("%s: %v %v, want %v %v", test.name, got, result, test.id, test.result)
		}
	}
	if got, ok := r.MatchKey(renewed); !ok || got != id {
		t.Errorf("MatchKey of a renewed certificate: %v", ok)
	}
	if _, ok := r.MatchKey(foreign); ok {
		t.Error("MatchKey found a key that is not there")
	}
	var none *Ring
	if _, result := none.Match(leaf, true); result != Mismatch || none.Keys() != nil || none.Source(id) != "" {
		t.Error("a nil ring has something")
	}
	if got := r.Certificate(bytes.Clone(leaf)); !bytes.Equal(got, leaf) || &got[0] != &r.Pairs()[0].Raw[0] {
		t.Error("a configured certificate is not the ring's own")
	}
	if r.Certificate(leaf[:len(leaf)-1]) != nil || none.Certificate(leaf) != nil {
		t.Error("there is a certificate that was not configured")
	}
	if pairs := r.Pairs(); len(pairs) != 2 || !pairs[0].HasKey || pairs[1].HasKey || pairs[1].Bits != 2048 || pairs[1].Source != "b.pem" {
		t.Errorf("pairs %+v", pairs)
	}
}

func parsed(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAddErrors(t *testing.T) {
	r := new(Ring)
	leaf := certFor(t, key1024(t), nil)
	for name, err := range map[string]error{
		"nothing":         r.Add("x", nil, nil),
		"no certificate":  r.Add("x", []byte("hello"), nil),
		"another's key":   r.Add("x", leaf, key2048(t)),
		"too short a key": r.Add("x", nil, &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: big.NewInt(35), E: 5}, D: big.NewInt(5)}),
		"no numbers":      r.Add("x", nil, &rsa.PrivateKey{}),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "x: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if len(r.Pairs()) != 0 || len(r.Keys()) != 0 {
		t.Error("something was added all the same")
	}
}

func TestKeyUsageWarning(t *testing.T) {
	r := new(Ring)
	sign := certFor(t, key1024(t), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	both := certFor(t, key1024(t), func(c *x509.Certificate) {
		c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	})
	if err := r.Add("both", both, nil); err != nil || len(r.Warnings()) != 0 {
		t.Errorf("error %v, warnings %q", err, r.Warnings())
	}
	if err := r.Add("sign", sign, nil); err != nil || len(r.Warnings()) != 1 || !strings.Contains(r.Warnings()[0], "key encipherment") {
		t.Errorf("error %v, warnings %q", err, r.Warnings())
	}
}

// A certificate that crypto/x509 refuses is still matched.
func TestUnusualCertificate(t *testing.T) {
	key := key1024(t)
	leaf := certFor(t, key, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0x11) })
	i := bytes.Index(leaf, []byte{0x02, 0x01, 0x11})
	leaf[i+2] = 0x80 // a negative serial number
	if _, err := x509.ParseCertificate(leaf); err == nil {
		t.Skip("crypto/x509 takes it")
	}
	r := new(Ring)
	if err := r.Add("odd.pem", leaf, key); err != nil {
		t.Fatal(err)
	}
	if _, result := r.Match(leaf, false); result != Matched {
		t.Errorf("%v", result)
	}
	if len(r.Warnings()) != 1 || r.Pairs()[0].Certificate != nil || r.Pairs()[0].Raw == nil {
		t.Errorf("warnings %q", r.Warnings())
	}
}

func FuzzPublicKeyOf(f *testing.F) {
	f.Add(readTestdata(f, "cert.der"))
	f.Add(pemBytes(f, readTestdata(f, "ec-cert.pem")))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		public, err := publicKeyOf(der)
		c, x509err := x509.ParseCertificate(der)
		if x509err != nil {
			return
		}
		// What crypto/x509 takes is taken, with the same key.
		want, ok := c.PublicKey.(*rsa.PublicKey)
		if ok && (err != nil || public.n.Cmp(want.N) != 0 || public.e.Cmp(big.NewInt(int64(want.E))) != 0) {
			t.Fatalf("another key, error %v", err)
		}
		if !ok && err == nil && c.PublicKeyAlgorithm != x509.UnknownPublicKeyAlgorithm {
			t.Fatalf("a key of %v", c.PublicKeyAlgorithm)
		}
	})
}
