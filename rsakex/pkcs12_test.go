// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"
)

// TestLoadPKCS12Makers loads what others make besides OpenSSL's plainest: BER of NSS, a file without a
// certificate, several keys, RC2.
func TestLoadPKCS12Makers(t *testing.T) {
	passphrase := write(t, "passphrase", []byte("secret"))
	wrong := write(t, "wrong", []byte("guess"))
	for _, tt := range []struct {
		file  string
		keys  int
		pairs int // with a certificate
	}{
		{"nss.p12", 1, 1}, {"nss-old.p12", 1, 1}, {"nss-rc2.p12", 1, 1}, {"nss-empty.p12", 1, 1},
		{"nocert.p12", 1, 0}, {"java-two.p12", 2, 2},
	} {
		others := strings.HasPrefix(tt.file, "nss-") // to derive a key takes long
		if others && testing.Short() {
			continue
		}
		t.Run(tt.file, func(t *testing.T) {
			path := testdata(tt.file)
			r, err := LoadRing([]KeyFile{{Key: path, PassphraseFile: passphrase}})
			if err != nil {
				t.Fatal(err)
			}
			if tt.keys == 1 {
				works(t, r)
			}
			if len(r.Keys()) != tt.keys {
				t.Errorf("%d keys, want %d", len(r.Keys()), tt.keys)
			}
			pairs := 0
			for _, p := range r.Pairs() {
				if p.Raw != nil {
					pairs++
				}
			}
			if pairs != tt.pairs {
				t.Errorf("%d certificates with their keys, want %d", pairs, tt.pairs)
			}
			if _, result := r.Match(readTestdata(t, "cert.der"), false); tt.pairs > 0 && result != Matched {
				t.Errorf("its certificate: %v", result)
			}
			block, _ := pem.Decode(readTestdata(t, "second-cert.pem"))
			if _, result := r.Match(block.Bytes, false); tt.pairs > 1 && result != Matched {
				t.Errorf("the second certificate: %v", result)
			}
			if others {
				return
			}
			for _, f := range []KeyFile{{Key: path}, {Key: path, PassphraseFile: wrong}} {
				if _, err := LoadRing([]KeyFile{f}); err == nil || !strings.Contains(err.Error(), "passphrase") {
					t.Errorf("%+v: error %v", f, err)
				}
			}
		})
	}
}

// TestLoadPKCS12Parts gives the certificate and the key in files of their own.
func TestLoadPKCS12Parts(t *testing.T) {
	passphrase := write(t, "passphrase", []byte("secret"))
	for _, f := range []KeyFile{
		{Cert: testdata("nokey.p12"), Key: testdata("nocert.p12")},
		{Cert: testdata("cert.pem"), Key: testdata("nocert.p12")},
		{Cert: testdata("nokey.p12"), Key: testdata("pkcs1.pem")},
	} {
		f.PassphraseFile = passphrase
		loads(t, f)
	}
}

// TestLoadPKCS12Encoders reads the files of another implementation, with each of its algorithms.
func TestLoadPKCS12Encoders(t *testing.T) {
	block, _ := pem.Decode(readTestdata(t, "pkcs8.pem"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(readTestdata(t, "cert.der"))
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*pkcs12.Encoder{
		"RC2": pkcs12.LegacyRC2, "3DES": pkcs12.LegacyDES, "2023": pkcs12.Modern2023, "2026": pkcs12.Modern2026,
		"none": pkcs12.Passwordless,
	} {
		passphrase := "Beavis ünd ☃"
		if name == "none" {
			passphrase = ""
		}
		file, err := e.Encode(key, cert, []*x509.Certificate{cert}, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		c, err := parseContents(file, []byte(passphrase))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(c.certs) != 2 || len(c.keys) != 1 || !bytes.Equal(c.certs[0], cert.Raw) {
			t.Errorf("%s: %d certificates, %d keys", name, len(c.certs), len(c.keys))
		}
		numbers, err := c.keys[0](nil)
		if err != nil || numbers.n.Cmp(key.(*rsa.PrivateKey).N) != 0 {
			t.Errorf("%s: the key: %v", name, err)
		}
		if _, err := parseContents(file, []byte("Butt-Head")); name != "none" && err == nil {
			t.Errorf("%s: any passphrase will do", name)
		}
	}
}

func TestToDER(t *testing.T) {
	deep := strings.Repeat("3080", maxBERDepth) + strings.Repeat("0000", maxBERDepth)
	for _, tt := range []struct{ name, in, out string }{
		{"DER", "3006020103040100", "3006020103040100"},
		{"no end", "30800201030000", "3003020103"},
		{"with more behind", "308002010300000101ff", "3003020103"},
		{"pieces", "2480040161040162000004", "04026162"},
		{"pieces of pieces", "2480240604016104016204016300 00", "0403616263"},
		{"no pieces", "24800000", "0400"},
		{"context", "a0800401610401620000", "a006040161040162"},
		{"long length", "30840000000302010a", "300302010a"},
		{"empty", "", ""},
		{"cut", "308002", ""},
		{"no contents", "3003", ""},
		{"never ends", "3080020103", ""},
		{"never ends, but around it does", "300530800201030000", ""},
		{"primitive without an end", "04800000", ""},
		{"a length of its own", "3085010000000002", ""},
		{"negative length", "3084ffffffff02", ""},
		{"large tag", "1f810100", ""},
		{"as deep as may be", deep[4 : len(deep)-4], nested(maxBERDepth - 1)},
		{"deeper", "3080" + deep + "0000", ""},
	} {
		in, err := hex.DecodeString(strings.ReplaceAll(tt.in, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(toDER(in)); got != tt.out {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.out)
		}
	}
}

// nested is so many sequences, each in the one before.
func nested(n int) string {
	var der []byte
	for range n {
		b := cryptobyte.NewBuilder(nil)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(der) })
		der = b.BytesOrPanic()
	}
	return hex.EncodeToString(der)
}

// The largest file that is read, of nothing but what costs most.
func TestToDERBounded(t *testing.T) {
	for name, in := range map[string][]byte{
		"small elements": bytes.Repeat([]byte{0x05, 0}, maxFileSize/2),
		"in a sequence":  append([]byte{0x30, 0x80}, bytes.Repeat([]byte{0x05, 0}, maxFileSize/2-1)...),
		"begun":          bytes.Repeat([]byte{0x30, 0x80}, maxFileSize/2),
		"one large":      append([]byte{0x04, 0x83, 0x3f, 0xff, 0xf0}, make([]byte, 0x3ffff0)...),
	} {
		begin := time.Now()
		var got []byte
		allocated := testing.AllocsPerRun(1, func() { got = toDER(in) })
		if took := time.Since(begin); took > 5*time.Second || allocated > 10*maxBERElements {
			t.Errorf("%s: %v, %.0f allocations, %d bytes", name, took, allocated, len(got))
		}
	}
}

// FuzzToDER asks for DER: what another reader of it takes as one element, and what stays as it is.
func FuzzToDER(f *testing.F) {
	for _, name := range []string{"nss.p12", "java-two.p12", "cert.der"} {
		f.Add(readTestdata(f, name))
	}
	f.Add([]byte{0x24, 0x80, 4, 1, 'a', 0x24, 3, 4, 1, 'b', 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		der := toDER(in)
		if der == nil {
			return
		}
		if len(der) > 3*len(in) {
			t.Fatalf("%d bytes became %d", len(in), len(der))
		}
		s := cryptobyte.String(der)
		var e cryptobyte.String
		var tag asn1.Tag
		if !s.ReadAnyASN1Element(&e, &tag) || !s.Empty() {
			t.Fatalf("%x is not one element", der)
		}
		if again := toDER(der); !bytes.Equal(again, der) {
			t.Fatalf("%x became %x", der, again)
		}
	})
}
