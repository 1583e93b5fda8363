// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// tap is a connection that remembers what was written to it.
type tap struct {
	net.Conn
	mu      sync.Mutex
	written bytes.Buffer
}

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.written.Write(b)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tap) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.written.Bytes())
}

// deaf is a connection on which nobody answers.
type deaf struct{ net.Conn }

func (deaf) Read([]byte) (int, error)    { return 0, io.EOF }
func (deaf) Write(b []byte) (int, error) { return len(b), nil }
func (deaf) Close() error                { return nil }

// goHello returns the first flight of crypto/tls.
func goHello(cfg *tls.Config) []byte {
	c := &tap{Conn: deaf{}}
	_ = tls.Client(c, cfg).Handshake() // ends with the EOF
	// Behind the hello there is the client's alert about that.
	b := c.bytes()
	if h, err := ParseRecordHeader(b); err == nil {
		b = b[:RecordHeaderLen+h.Length]
	}
	return b
}

// goHellos returns hellos of crypto/tls in many settings.
func goHellos() map[string][]byte {
	hellos := make(map[string][]byte)
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		for name, cfg := range map[string]*tls.Config{
			"name":  {ServerName: "example.com"},
			"plain": {InsecureSkipVerify: true},
			"h2":    {ServerName: "example.com", NextProtos: []string{"h2", "http/1.1"}},
			"rsa":   {ServerName: "a.b", CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA}},
			"curve": {ServerName: "example.com", CurvePreferences: []tls.CurveID{tls.CurveP256}, SessionTicketsDisabled: true},
		} {
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, v
			hellos[tls.VersionName(v)+" "+name] = goHello(cfg)
		}
	}
	return hellos
}

// selfSigned returns a certificate for tests, with a staple that is none.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, OCSPStaple: []byte("staple")}
}

// exchange runs a handshake of crypto/tls with itself and returns the handshake messages that each side
// sent in the clear.
func exchange(t *testing.T, client, server *tls.Config) (fromClient, fromServer []Message) {
	t.Helper()
	a, b := loopback(t)
	c, s := &tap{Conn: a}, &tap{Conn: b}
	done := make(chan error, 1)
	go func() { done <- tls.Server(s, server).Handshake() }()
	if err := tls.Client(c, client).Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return clearMessages(t, c.bytes()), clearMessages(t, s.bytes())
}

// loopback returns the ends of a TCP connection, which buffers as net.Pipe does not.
func loopback(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	client = must[net.Conn](t)(net.Dial("tcp", l.Addr().String()))
	server = must[net.Conn](t)(l.Accept())
	for _, c := range []net.Conn{client, server} {
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

// clearMessages returns the messages of a stream up to its ChangeCipherSpec.
func clearMessages(t *testing.T, b []byte) (all []Message) {
	t.Helper()
	var m Messages
	for len(b) > 0 {
		h, err := ParseRecordHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if h.Type != ContentHandshake {
			break
		}
		m.Push(b[RecordHeaderLen : RecordHeaderLen+h.Length])
		b = b[RecordHeaderLen+h.Length:]
		for {
			msg, ok, err := m.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			all = append(all, msg.Clone())
		}
	}
	return all
}

func types(all []Message) (list []MessageType) {
	for _, m := range all {
		list = append(list, m.Type)
	}
	return list
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestExchange parses every message of a full handshake with a client certificate.
func TestExchange(t *testing.T) {
	cert := selfSigned(t)
	leaf := must[*x509.Certificate](t)(x509.ParseCertificate(cert.Certificate[0]))
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	for _, v := range []Version{TLS10, TLS11, TLS12} {
		client := &tls.Config{
			ServerName: "test", RootCAs: pool, Certificates: []tls.Certificate{cert},
			MinVersion: uint16(v), MaxVersion: uint16(v), CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
			NextProtos: []string{"h2"}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
		server := &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, ClientCAs: pool,
			MinVersion: uint16(v), CipherSuites: client.CipherSuites, NextProtos: client.NextProtos,
		}
		c, s := exchange(t, client, server)
		if want := []MessageType{TypeClientHello, TypeCertificate, TypeClientKeyExchange, TypeCertificateVerify}; !slices.Equal(types(c), want) {
			t.Fatalf("%v: client sent %v", v, types(c))
		}
		if want := []MessageType{TypeServerHello, TypeCertificate, TypeCertificateStatus, TypeCertificateRequest,
			TypeServerHelloDone, TypeNewSessionTicket}; !slices.Equal(types(s), want) {
			t.Fatalf("%v: server sent %v", v, types(s))
		}
		checkHellos(t, v, must[*ClientHello](t)(ParseClientHello(c[0])), must[*ServerHello](t)(ParseServerHello(s[0])))
		for _, m := range []Message{c[1], s[1]} {
			if got := must[*Certificate](t)(ParseCertificate(m)); len(got.Chain) != 1 || !bytes.Equal(got.Chain[0], leaf.Raw) {
				t.Errorf("%v: chain %x", v, got.Chain)
			}
		}
		if got := must[[]byte](t)(ParseClientKeyExchangeRSA(c[2], v)); len(got) != 256 {
			t.Errorf("%v: encrypted premaster of %d bytes", v, len(got))
		}
		verify := must[*CertificateVerify](t)(ParseCertificateVerify(c[3], v))
		if len(verify.Signature) != 256 || (v == TLS12) != (verify.SignatureAlgorithm != 0) {
			t.Errorf("%v: %+v", v, verify)
		}
		if got := must[*CertificateStatus](t)(ParseCertificateStatus(s[2])); string(got.Responses[0]) != "staple" {
			t.Errorf("%v: staple %q", v, got.Responses)
		}
		request := must[*CertificateRequest](t)(ParseCertificateRequest(s[3], v))
		if len(request.Authorities) != 1 || !bytes.Equal(request.Authorities[0], leaf.RawSubject) {
			t.Errorf("%v: %+v", v, request)
		}
		if got := must[*NewSessionTicket](t)(ParseNewSessionTicket(s[5])); len(got.Ticket) == 0 {
			t.Errorf("%v: empty ticket", v)
		}
	}
}

func checkHellos(t *testing.T, v Version, c *ClientHello, s *ServerHello) {
	t.Helper()
	if c.Version != v || c.ServerName != "test" || !slices.Equal(c.ALPN, []string{"h2"}) || !c.HasSessionTicket ||
		!c.ExtendedMasterSecret || !c.StatusRequest || !c.SecureRenegotiation || c.MaxVersion() != v {
		t.Errorf("%v: ClientHello %+v", v, c)
	}
	if s.SelectedVersion() != v || s.CipherSuite != tls.TLS_RSA_WITH_AES_128_CBC_SHA || s.ALPN != "h2" ||
		!s.SessionTicket || !s.ExtendedMasterSecret || !s.StatusRequest || !s.SecureRenegotiation || s.KeyShareGroup != 0 {
		t.Errorf("%v: ServerHello %+v", v, s)
	}
}

// TestExchange13 parses what is in the clear of a TLS 1.3 handshake with a HelloRetryRequest.
func TestExchange13(t *testing.T) {
	cert := selfSigned(t)
	client := &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP384}}
	server := &tls.Config{Certificates: []tls.Certificate{cert}, CurvePreferences: []tls.CurveID{tls.CurveP384}}
	c, s := exchange(t, client, server)
	if len(c) == 0 || len(s) == 0 {
		t.Fatalf("client sent %v, server %v", types(c), types(s))
	}
	hello := must[*ClientHello](t)(ParseClientHello(c[0]))
	if hello.Version != TLS12 || hello.MaxVersion() != TLS13 {
		t.Errorf("ClientHello %+v", hello)
	}
	retry := must[*ServerHello](t)(ParseServerHello(s[0]))
	if !retry.IsHelloRetryRequest || retry.SelectedVersion() != TLS13 || retry.KeyShareGroup != uint16(tls.CurveP384) {
		t.Errorf("HelloRetryRequest %+v", retry)
	}
}

func TestGoHellosParse(t *testing.T) {
	for name, b := range goHellos() {
		msg, err := ParseMessage(b[RecordHeaderLen:])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		h, err := ParseClientHello(msg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(h.JA3()) != 32 || len(h.JA4()) != 36 {
			t.Errorf("%s: JA3 %q, JA4 %q", name, h.JA3(), h.JA4())
		}
	}
}
