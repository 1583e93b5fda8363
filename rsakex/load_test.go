// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func testdata(name string) string { return filepath.Join("testdata", name) }

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(testdata(name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// write puts data into a file of its own.
func write(t testing.TB, name string, data ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, bytes.Join(data, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// works checks that a ring has exactly one key, that it fits testdata's certificate, and opens.
func works(t *testing.T, r *Ring) {
	t.Helper()
	keys := r.Keys()
	if len(keys) != 1 {
		t.Fatalf("%d keys", len(keys))
	}
	id, ok := r.MatchKey(readTestdata(t, "cert.der"))
	if !ok || id != keys[0] {
		t.Fatal("the key does not fit its certificate")
	}
	cert, err := x509.ParseCertificate(readTestdata(t, "cert.der"))
	if err != nil {
		t.Fatal(err)
	}
	public := &rsa.PrivateKey{PublicKey: *cert.PublicKey.(*rsa.PublicKey)}
	q := testRequest(id, seal(t, public, testPremaster()))
	want := MasterSecret(q.Version, q.PRF, testPremaster(), q.Client, q.Server)
	if !bytes.Equal(mustMaster(t, NewLocal(r).MasterSecret(q)), want) {
		t.Fatal("another master secret")
	}
}

func TestLoadFormats(t *testing.T) {
	passphrase := write(t, "passphrase", []byte("secret\r\nnot this\n"))
	matches, err := filepath.Glob(testdata("[lp]*"))
	if err != nil || len(matches) < 20 {
		t.Fatalf("%d files, error %v", len(matches), err)
	}
	for _, path := range matches {
		name := filepath.Base(path)
		switch {
		case name == "pss.pem":
			continue
		case strings.HasSuffix(name, ".p12"):
			continue
		}
		t.Run(name, func(t *testing.T) {
			encrypted := strings.HasPrefix(name, "legacy") || strings.HasPrefix(name, "pbes")
			f := KeyFile{Key: path, PassphraseFile: passphrase}
			r, err := LoadRing([]KeyFile{f})
			if err != nil {
				t.Fatal(err)
			}
			works(t, r)
			if r.Pairs()[0].Raw != nil || r.Source(r.Keys()[0]) != path {
				t.Errorf("pair %+v", r.Pairs()[0])
			}
			f.Cert = testdata("cert.pem")
			if r, err = LoadRing([]KeyFile{f}); err != nil {
				t.Fatal(err)
			}
			works(t, r)
			f.PassphraseFile = ""
			if _, err = LoadRing([]KeyFile{f}); (err != nil) != encrypted {
				t.Errorf("without a passphrase: error %v", err)
			}
		})
	}
}

// loads wants a key that works, and its certificate.
func loads(t *testing.T, f KeyFile) {
	t.Helper()
	r, err := LoadRing([]KeyFile{f})
	if err != nil {
		t.Errorf("%+v: %v", f, err)
		return
	}
	works(t, r)
	if _, result := r.Match(readTestdata(t, "cert.der"), false); result != Matched {
		t.Errorf("%+v: its certificate: %v", f, result)
	}
}

func TestLoadPKCS12(t *testing.T) {
	passphrase := write(t, "passphrase", []byte("secret"))
	for _, test := range []struct{ file, passphrase string }{
		{"secret.p12", passphrase}, {"legacy.p12", passphrase},
		{"empty.p12", ""}, {"empty.p12", passphrase}, {"plain.p12", ""}, {"plain.p12", passphrase},
	} {
		path := testdata(test.file)
		for _, f := range []KeyFile{{Cert: path}, {Key: path}, {Cert: path, Key: path}, {Cert: testdata("cert.der"), Key: path}} {
			f.PassphraseFile = test.passphrase
			loads(t, f)
		}
	}
}

func TestLoadBundles(t *testing.T) {
	key, cert := readTestdata(t, "pkcs1.pem"), readTestdata(t, "cert.pem")
	ecKey, ecCert := readTestdata(t, "ec-sec1.pem"), readTestdata(t, "ec-cert.pem")
	der := readTestdata(t, "cert.der")
	bom := []byte("\xef\xbb\xbf")
	text := []byte("Bag Attributes\n    friendlyName: server\nsubject=CN = server.example\n\n")
	for name, data := range map[string][][]byte{
		"key then certificate":      {key, cert},
		"certificate then key":      {cert, key},
		"with text":                 {text, cert, text, key, text},
		"with a byte order mark":    {bom, cert, key},
		"CRLF":                      {bytes.ReplaceAll(bytes.Join([][]byte{cert, key}, nil), []byte("\n"), []byte("\r\n"))},
		"chain out of order":        {ecCert, cert, key},
		"an EC pair beside":         {ecKey, ecCert, key, cert},
		"OpenSSL's trusted":         {readTestdata(t, "trusted.pem"), key},
		"a request beside":          {readTestdata(t, "request.pem"), cert, key},
		"the certificate twice":     {cert, cert, key, key},
		"EC parameters before them": {[]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), cert, key},
	} {
		path := write(t, "bundle.pem", data...)
		for _, f := range []KeyFile{{Cert: path}, {Key: path}, {Cert: path, Key: path}} {
			r, err := LoadRing([]KeyFile{f})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			works(t, r)
			if id, result := r.Match(der, false); result != Matched || id != r.Keys()[0] {
				t.Errorf("%s: its certificate: %v", name, result)
			}
			if _, result := r.Match(pemBytes(t, ecCert), false); result != Mismatch {
				t.Errorf("%s: the other certificate: %v", name, result)
			}
		}
	}
}

func pemBytes(t testing.TB, data []byte) []byte {
	t.Helper()
	b, _ := pem.Decode(data)
	if b == nil {
		t.Fatal("no PEM")
	}
	return b.Bytes
}

// A certificate and its key may be given apart, in any order.
func TestLoadApart(t *testing.T) {
	cert, key := KeyFile{Cert: testdata("cert.pem")}, KeyFile{Key: testdata("pkcs8.der")}
	der := readTestdata(t, "cert.der")
	for _, files := range [][]KeyFile{{cert, key}, {key, cert}} {
		r, err := LoadRing(files)
		if err != nil {
			t.Fatal(err)
		}
		works(t, r)
		if _, result := r.Match(der, false); result != Matched {
			t.Errorf("%v", result)
		}
		for _, p := range r.Pairs() {
			if !p.HasKey || p.Bits != 1024 || p.Key != r.Keys()[0] {
				t.Errorf("pair %+v", p)
			}
		}
	}
	r, err := LoadRing([]KeyFile{cert})
	if err != nil {
		t.Fatal(err)
	}
	if _, result := r.Match(der, false); result != NoKey {
		t.Errorf("the certificate alone: %v", result)
	}
	if r, err = LoadRing([]KeyFile{key}); err != nil {
		t.Fatal(err)
	}
	if _, result := r.Match(der, false); result != Mismatch {
		t.Errorf("the key alone, by certificate: %v", result)
	}
	if _, result := r.Match(der, true); result != Matched {
		t.Errorf("the key alone, by public key: %v", result)
	}
}

func TestLoadErrors(t *testing.T) {
	cert, key := testdata("cert.pem"), testdata("pkcs1.pem")
	right := write(t, "right", []byte("secret\n"))
	wrong := write(t, "wrong", []byte("other\n"))
	blank := write(t, "blank", []byte("\nsecret\n"))
	nothing := write(t, "nothing")
	junk := write(t, "junk", []byte("hello"))
	cut := write(t, "cut.pem", readTestdata(t, "pkcs1.pem")[:300])
	large := write(t, "large.pem", make([]byte, maxFileSize+1))
	der := readTestdata(t, "pkcs1.der")
	torn := write(t, "torn.der", der[:300])
	other := write(t, "other.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certFor(t, key1024(t), nil)}))
	damagedDER := bytes.Clone(der)
	damagedDER[40] ^= 1 // in the modulus
	damaged := write(t, "damaged.der", damagedDER)
	for _, test := range []struct {
		file       KeyFile
		path, what string
	}{
		{KeyFile{}, "a key pair", "needs the file"},
		{KeyFile{Cert: "no/such.pem"}, "no/such.pem", "no such file"},
		{KeyFile{Cert: cert, Key: "no/such.pem"}, "no/such.pem", "no such file"},
		{KeyFile{Key: key, PassphraseFile: "no/such"}, "no/such", "no such file"},
		{KeyFile{Cert: "testdata"}, "testdata", "is a directory"},
		{KeyFile{Cert: nothing}, nothing, "is empty"},
		{KeyFile{Cert: junk}, junk, "neither PEM, DER nor PKCS #12"},
		{KeyFile{Key: cut}, cut, "damaged PEM"},
		{KeyFile{Key: torn}, torn, "neither PEM, DER nor PKCS #12"},
		{KeyFile{Key: damaged}, damaged, "damaged"},
		{KeyFile{Cert: large}, large, "too large"},
		{KeyFile{Cert: key}, key, "not a certificate: give it as the key"},
		{KeyFile{Cert: key, Key: cert}, key, "exchange the two"},
		{KeyFile{Cert: key, Key: key}, key, "not a certificate: give it as the key"},
		{KeyFile{Cert: cert, Key: cert}, cert, "not a private key"},
		{KeyFile{Key: cert}, cert, "not a private key"},
		{KeyFile{Cert: testdata("request.pem")}, testdata("request.pem"), "no certificate in it (but CERTIFICATE REQUEST)"},
		{KeyFile{Key: testdata("request.pem")}, testdata("request.pem"), "no private key in it (but CERTIFICATE REQUEST)"},
		{KeyFile{Cert: other, Key: key}, key, "does not belong to the certificate in " + other},
		{KeyFile{Cert: cert, Key: testdata("ec-sec1.pem")}, testdata("ec-sec1.pem"), "is EC, which cannot open RSA key exchange"},
		{KeyFile{Key: testdata("ec-pkcs8.pem")}, testdata("ec-pkcs8.pem"), "is EC, which cannot open RSA key exchange"},
		{KeyFile{Key: testdata("ec.p12"), PassphraseFile: right}, testdata("ec.p12"), "is EC, which cannot open RSA key exchange"},
		{KeyFile{Key: testdata("ed25519.pem")}, testdata("ed25519.pem"), "is Ed25519, which cannot open RSA key exchange"},
		{KeyFile{Key: testdata("pss.pem")}, testdata("pss.pem"), "is RSA-PSS, which cannot open RSA key exchange"},
		{KeyFile{Cert: testdata("ec-cert.pem")}, testdata("ec-cert.pem"), "public key is EC"},
		{KeyFile{Cert: testdata("ec-cert.pem"), Key: key}, testdata("ec-cert.pem"), "public key is EC"},
		{KeyFile{Key: testdata("multiprime.pem")}, testdata("multiprime.pem"), "more than two primes"},
		{KeyFile{Key: testdata("openssh.pem")}, testdata("openssh.pem"), "ssh-keygen"},
		{KeyFile{Key: testdata("unsupported.pem"), PassphraseFile: right}, testdata("unsupported.pem"), "not supported"},
		{KeyFile{Key: testdata("legacy-aes256.pem")}, testdata("legacy-aes256.pem"), "give a file with its passphrase"},
		{KeyFile{Key: testdata("legacy-aes256.pem"), PassphraseFile: wrong}, testdata("legacy-aes256.pem"), "wrong passphrase"},
		{KeyFile{Key: testdata("pbes2.der")}, testdata("pbes2.der"), "give a file with its passphrase"},
		{KeyFile{Key: testdata("pbes2.der"), PassphraseFile: wrong}, testdata("pbes2.der"), "wrong passphrase"},
		{KeyFile{Key: testdata("pbes1-PBE-SHA1-3DES.pem"), PassphraseFile: wrong}, testdata("pbes1-PBE-SHA1-3DES.pem"), "wrong passphrase"},
		{KeyFile{Key: testdata("secret.p12")}, testdata("secret.p12"), "give a file with its passphrase"},
		{KeyFile{Key: testdata("secret.p12"), PassphraseFile: wrong}, testdata("secret.p12"), "wrong passphrase"},
		{KeyFile{Key: key, PassphraseFile: blank}, blank, "first line is empty"},
	} {
		_, err := LoadRing([]KeyFile{test.file})
		if err == nil {
			t.Errorf("%+v: no error", test.file)
			continue
		}
		text := err.Error()
		if !strings.HasPrefix(text, test.path) || !strings.Contains(text, test.what) || strings.Contains(text, "\n") {
			t.Errorf("%+v: %q, want %q … %q", test.file, text, test.path, test.what)
		}
	}
}

func TestLoadUnreadable(t *testing.T) {
	denied := &os.PathError{Op: "open", Path: "key.pem", Err: os.ErrPermission}
	if err := explainOpen(denied); !strings.Contains(err.Error(), "give it to the user") {
		t.Errorf("error %v", err)
	}
}

func TestLoadWarnings(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes")
	}
	path := write(t, "key.pem", readTestdata(t, "pkcs1.pem"))
	warnings := func(mode os.FileMode, files ...KeyFile) string {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		r, err := LoadRing(files)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(r.Warnings(), "\n")
	}
	for _, mode := range []os.FileMode{0o600, 0o640} {
		if w := warnings(mode, KeyFile{Key: path}); w != "" {
			t.Errorf("mode %o: %q", mode, w)
		}
	}
	w := warnings(0o644, KeyFile{Key: path}, KeyFile{Cert: testdata("cert.pem"), Key: path})
	if strings.Count(w, "every user of this machine can read this private key") != 1 || !strings.HasPrefix(w, path) {
		t.Errorf("world-readable: %q", w)
	}
	bundle := write(t, "bundle.pem", readTestdata(t, "ec-sec1.pem"), readTestdata(t, "pkcs1.pem"))
	if w := warnings(0o600, KeyFile{Key: bundle}); !strings.Contains(w, "is EC") || !strings.Contains(w, "not used") {
		t.Errorf("an EC key beside: %q", w)
	}
}

// No file, however damaged, is a panic or more than one line of error.
func FuzzParseContents(f *testing.F) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), "nss-") { // to derive a key takes long, and one will do
			data := readTestdata(f, e.Name())
			f.Add(data)
			if b, _ := pem.Decode(data); b != nil {
				f.Add(b.Bytes)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			t.Skip()
		}
		c, err := parseContents(data, []byte("secret"))
		if err != nil {
			return
		}
		if len(c.certs)+len(c.keys)+len(c.other) == 0 {
			t.Fatal("nothing was found, and no error")
		}
		for _, open := range c.keys {
			numbers, err := open([]byte("secret"))
			if err != nil {
				if strings.Contains(err.Error(), "\n") {
					t.Fatalf("error %q", err)
				}
				continue
			}
			if numbers.n == nil || numbers.e == nil || numbers.n.BitLen() > 4096 || numbers.e.BitLen() > 64 {
				continue
			}
			if k, err := newPrivateKey(numbers); err == nil && k.bits() < minBits {
				t.Fatalf("a key of %d bits", k.bits())
			}
		}
	})
}
