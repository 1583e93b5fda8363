// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// peer is a key with its certificate.
type peer struct {
	key  crypto.Signer
	cert []byte
}

func newPeer(key crypto.Signer, err error) peer {
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return peer{key, cert}
}

var peers = sync.OnceValue(func() map[string]peer {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]peer{
		"rsa":     newPeer(rsa.GenerateKey(rand.Reader, 2048)),
		"p256":    newPeer(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"p521":    newPeer(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		"ed25519": newPeer(ed, err),
	}
})

func (p peer) sign(t *testing.T, digest []byte, opts crypto.SignerOpts) []byte {
	t.Helper()
	s, err := p.key.Sign(rand.Reader, digest, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	transcript = []byte("all that was said before")
	hash36     = []byte("an MD5 hash, 16..an SHA-1 hash, 20..")
	hash32     = []byte("the hash of all that was said...")
)

func pss(h crypto.Hash) crypto.SignerOpts {
	return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
}

func TestVerify(t *testing.T) {
	both := slices.Concat(sum(crypto.MD5, transcript), sum(crypto.SHA1, transcript))
	none := crypto.Hash(0)
	client13, server13 := signed13(handshake.Client, hash32), signed13(handshake.Server, hash32)
	for _, test := range []struct {
		peer      string
		version   handshake.Version
		algorithm uint16
		digest    []byte // what is signed
		opts      crypto.SignerOpts
	}{
		{"rsa", handshake.SSL30, 0, hash36, crypto.MD5SHA1},
		{"p256", handshake.SSL30, 0, hash36[16:], none},
		{"rsa", handshake.TLS10, 0, both, crypto.MD5SHA1},
		{"rsa", handshake.TLS11, 0, both, crypto.MD5SHA1},
		{"p256", handshake.TLS10, 0, sum(crypto.SHA1, transcript), none},
		{"rsa", handshake.TLS12, 0x0101, sum(crypto.MD5, transcript), crypto.MD5},
		{"rsa", handshake.TLS12, 0x0201, sum(crypto.SHA1, transcript), crypto.SHA1},
		{"rsa", handshake.TLS12, 0x0401, sum(crypto.SHA256, transcript), crypto.SHA256},
		{"rsa", handshake.TLS12, 0x0501, sum(crypto.SHA384, transcript), crypto.SHA384},
		{"rsa", handshake.TLS12, 0x0601, sum(crypto.SHA512, transcript), crypto.SHA512},
		{"rsa", handshake.TLS12, 0x0804, sum(crypto.SHA256, transcript), pss(crypto.SHA256)},
		{"p256", handshake.TLS12, 0x0203, sum(crypto.SHA1, transcript), none},
		{"p256", handshake.TLS12, 0x0403, sum(crypto.SHA256, transcript), none},
		{"p521", handshake.TLS12, 0x0603, sum(crypto.SHA512, transcript), none},
		{"ed25519", handshake.TLS12, 0x0807, transcript, none},
		{"rsa", handshake.TLS13, 0x0804, sum(crypto.SHA256, client13), pss(crypto.SHA256)},
		{"rsa", handshake.TLS13, 0x0806, sum(crypto.SHA512, client13), pss(crypto.SHA512)},
		{"p256", handshake.TLS13, 0x0403, sum(crypto.SHA256, client13), none},
		{"ed25519", handshake.TLS13, 0x0807, client13, none},
		{"ed25519", handshake.TLS13 + 0x8000, 0x0807, server13, none}, // the server's
	} {
		t.Run(fmt.Sprintf("%s/%v/%04x", test.peer, test.version, test.algorithm), func(t *testing.T) {
			who := peers()[test.peer]
			p := Proof{
				Version: test.version &^ 0x8000, Transcript: transcript, Algorithm: test.algorithm,
				Signature: who.sign(t, test.digest, test.opts),
			}
			if test.version&0x8000 != 0 {
				p.Side = handshake.Server
			}
			switch p.Version {
			case handshake.SSL30:
				p.Hash = hash36
			case handshake.TLS13:
				p.Hash = hash32
			}
			if err := Verify(who.cert, p); err != nil {
				t.Fatal(err)
			}
			p.refusesOthers(t, who, test.peer)
		})
	}
}

// refusesOthers changes one thing after the other in a right proof.
func (p Proof) refusesOthers(t *testing.T, who peer, name string) {
	for other, o := range peers() {
		if other != name && Verify(o.cert, p) == nil {
			t.Errorf("the key of %s proves it, too", other)
		}
	}
	changed := p
	changed.Transcript = append([]byte("x"), p.Transcript...)
	if p.Version > handshake.SSL30 && p.Version < handshake.TLS13 && Verify(who.cert, changed) == nil {
		t.Error("another transcript")
	}
	changed = p
	changed.Hash = slices.Concat(p.Hash)
	if len(p.Hash) > 0 {
		changed.Hash[len(p.Hash)-1] ^= 1
		if Verify(who.cert, changed) == nil {
			t.Error("another hash")
		}
		changed.Hash = nil
		if Verify(who.cert, changed) == nil {
			t.Error("no hash")
		}
	}
	changed = p
	changed.Side = p.Side.Opposite()
	if p.Version == handshake.TLS13 && Verify(who.cert, changed) == nil {
		t.Error("the other side's")
	}
	changed = p
	changed.Signature = slices.Concat(p.Signature)
	changed.Signature[len(changed.Signature)-1] ^= 1
	if Verify(who.cert, changed) == nil {
		t.Error("another signature")
	}
	changed.Signature = nil
	if Verify(who.cert, changed) == nil {
		t.Error("no signature")
	}
}

// What cannot be checked is not said to be wrong.
func TestVerifyUnsupported(t *testing.T) {
	all := peers()
	for name, test := range map[string]struct {
		cert []byte
		p    Proof
	}{
		"unknown scheme": {all["rsa"].cert, Proof{Version: handshake.TLS12, Algorithm: 0x0008}},
		"Ed448":          {all["ed25519"].cert, Proof{Version: handshake.TLS12, Algorithm: 0x0808}},
		"old Ed25519":    {all["ed25519"].cert, Proof{Version: handshake.TLS11}},
		"short hash":     {all["p256"].cert, Proof{Version: handshake.SSL30, Hash: []byte{1}}},
		"other key":      {all["ed25519"].cert, Proof{Version: handshake.TLS12, Algorithm: 0x0403}},
	} {
		if err := Verify(test.cert, test.p); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Verify([]byte("no certificate"), Proof{}); err == nil || errors.Is(err, ErrUnsupported) {
		t.Errorf("no certificate: %v", err)
	}
	for _, mixed := range []struct {
		peer      string
		algorithm uint16
	}{{"rsa", 0x0403}, {"p256", 0x0401}, {"p256", 0x0804}, {"rsa", 0x0807}} {
		err := Verify(all[mixed.peer].cert, Proof{Version: handshake.TLS12, Algorithm: mixed.algorithm})
		if err == nil || errors.Is(err, ErrUnsupported) {
			t.Errorf("%s with %04x: %v", mixed.peer, mixed.algorithm, err)
		}
	}
}

// TLS 1.3 signs with none of the older schemes.
func TestVerifyOldScheme13(t *testing.T) {
	who := peers()["rsa"]
	digest := sum(crypto.SHA256, signed13(handshake.Client, hash32))
	p := Proof{Version: handshake.TLS13, Hash: hash32, Algorithm: 0x0401, Signature: who.sign(t, digest, crypto.SHA256)}
	if Verify(who.cert, p) == nil {
		t.Error("PKCS #1 v1.5 is accepted (RFC 8446, Section 4.4.3)")
	}
}
