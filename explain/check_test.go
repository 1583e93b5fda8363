// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/explain/probe"
	"github.com/sightglass/sightglass/session"
)

func selfSigned(t *testing.T, key crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "check.example"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve runs a TLS server until the test ends and returns its address.
func serve(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				tls.Server(c, cfg).Handshake()
			}()
		}
	}()
	return l.Addr().String()
}

func TestCheck(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaCert, ecCert := []tls.Certificate{selfSigned(t, rsaKey)}, []tls.Certificate{selfSigned(t, ecKey)}
	rsaSuites := []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	both := append([]uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, rsaSuites...)
	fits := func([]byte) (string, bool) { return "the.key", true }
	fitsNot := func([]byte) (string, bool) { return "", false }

	tests := []struct {
		name    string
		cfg     *tls.Config
		match   Match
		verdict Verdict
		says    []string
	}{
		{"readable", &tls.Config{Certificates: rsaCert, MaxVersion: tls.VersionTLS12, CipherSuites: rsaSuites}, fits, Readable,
			[]string{"TLS 1.2, TLS_RSA_WITH_AES_128_GCM_SHA256: readable", "CN=check.example", "RSA, 2048 bits", "the.key", "\nReadable.\n",
				"TLS_RSA_WITH_AES_128_CBC_SHA\n"}},
		{"readable, no keys", &tls.Config{Certificates: rsaCert, MaxVersion: tls.VersionTLS12, CipherSuites: rsaSuites}, nil, Readable,
			[]string{"Readable, with the private key"}},
		{"asks for a client certificate", &tls.Config{Certificates: rsaCert, MaxVersion: tls.VersionTLS12, CipherSuites: rsaSuites,
			ClientAuth: tls.RequireAnyClientCert}, fits, Readable, []string{"asked for"}},
		{"wrong certificate", &tls.Config{Certificates: rsaCert, MaxVersion: tls.VersionTLS12, CipherSuites: rsaSuites}, fitsNot, WrongCertificate,
			[]string{"none of those given", "--match public-key"}},
		{"prefers ECDHE", &tls.Config{Certificates: rsaCert, MaxVersion: tls.VersionTLS12, CipherSuites: both}, fits, Prefers,
			[]string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: not readable", "ssl_protocols TLSv1.2;", "SSLCipherSuite"}},
		{"prefers TLS 1.3", &tls.Config{Certificates: rsaCert, CipherSuites: both}, fits, Prefers,
			[]string{"TLS 1.3, TLS_", "limited to TLS 1.2"}},
		{"TLS 1.3 alone", &tls.Config{Certificates: rsaCert, MinVersion: tls.VersionTLS13}, fits, Refuses,
			[]string{"refused: fatal protocol_version (70)", "Certificate              not seen"}},
		{"retries the hello", &tls.Config{Certificates: rsaCert, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP384}},
			nil, Refuses, []string{"HelloRetryRequest"}},
		{"ECDSA", &tls.Config{Certificates: ecCert, MaxVersion: tls.VersionTLS12}, fitsNot, Refuses,
			[]string{"ECDSA, P-256", "refused: fatal handshake_failure (40)", "Its certificate has no RSA key"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := probe.Server{Address: serve(t, tt.cfg), Timeout: 10 * time.Second}
			r, err := Check(t.Context(), server, tt.match, "check.example", true)
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != tt.verdict {
				t.Errorf("verdict %d, want %d", r.Verdict, tt.verdict)
			}
			var text strings.Builder
			if err := r.Write(&text); err != nil {
				t.Fatal(err)
			}
			for _, s := range tt.says {
				if !strings.Contains(text.String(), s) {
					t.Errorf("does not say %q:\n%s", s, text.String())
				}
			}
		})
	}
}

func TestCheckNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	server := probe.Server{Address: l.Addr().String(), Timeout: 10 * time.Second}
	if _, err := Check(context.Background(), server, nil, "", false); err == nil {
		t.Error("no error")
	}
}

// TestAdvice keeps the table complete: a cause that nobody can explain is no use.
func TestAdvice(t *testing.T) {
	for _, c := range session.Causes() {
		if a := For(c); a.Why == "" || a.Do == "" {
			t.Errorf("%v has no advice", c)
		}
	}
	if For(session.CauseNone) != (Advice{}) {
		t.Error("advice where nothing is wrong")
	}
}

func TestNameIsSafeOnATerminal(t *testing.T) {
	if got := name("CN=a\x1b[2Jb\u009bc"); got != "CN=a.[2Jb.c" {
		t.Errorf("%q", got)
	}
}
