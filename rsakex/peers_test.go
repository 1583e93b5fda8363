// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// tap keeps what is written to a connection.
type tap struct {
	net.Conn
	mu   sync.Mutex
	sent []byte
}

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.sent = append(c.sent, b...)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// peers runs a handshake between a client and a server of crypto/tls, and returns what each sent and
// the client's state.
func peers(t *testing.T, client, server *tls.Config) (fromClient, fromServer []byte, state tls.ConnectionState) {
	t.Helper()
	a, b := net.Pipe()
	ca, cb := &tap{Conn: a}, &tap{Conn: b}
	done := make(chan error, 1)
	go func() {
		s := tls.Server(cb, server)
		_, err := io.Copy(s, s) // until the client closes
		s.Close()
		done <- err
	}()
	c := tls.Client(ca, client)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	// A byte back and forth: the client has then read all of the server's handshake.
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	state = c.ConnectionState()
	c.Close()
	if err := <-done; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	return ca.sent, cb.sent, state
}

// clearMessages returns the handshake messages of one direction before its ChangeCipherSpec.
func clearMessages(t *testing.T, stream []byte) []handshake.Message {
	t.Helper()
	var cutter handshake.Messages
	var all []handshake.Message
	for len(stream) > 0 {
		h, err := handshake.ParseRecordHeader(stream)
		if err != nil {
			t.Fatal(err)
		}
		if h.Type != handshake.ContentHandshake {
			break
		}
		cutter.Push(stream[handshake.RecordHeaderLen:][:h.Length])
		stream = stream[handshake.RecordHeaderLen+h.Length:]
		for {
			m, ok, err := cutter.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			all = append(all, m.Clone())
		}
	}
	return all
}

// opened is what a reader makes of one recorded handshake.
type opened struct {
	random     handshake.Random // the client's
	transcript Transcript       // up to the first Finished
	request    Request
	suite      *handshake.Suite
}

func open(t *testing.T, ring *Ring, fromClient, fromServer []byte) *opened {
	t.Helper()
	o := new(opened)
	var order []handshake.Message
	client, server := clearMessages(t, fromClient), clearMessages(t, fromServer)
	order = append(append(append(order, client[0]), server...), client[1:]...)
	for _, m := range order {
		if m.Type == handshake.TypeNewSessionTicket && len(client) > 1 {
			continue // in a full handshake it comes after the client's Finished
		}
		switch m.Type {
		case handshake.TypeClientHello:
			hello, err := handshake.ParseClientHello(m)
			if err != nil {
				t.Fatal(err)
			}
			o.random = hello.Random
		case handshake.TypeServerHello:
			o.hello(t, m)
		case handshake.TypeCertificate:
			cert, err := handshake.ParseCertificate(m)
			if err != nil {
				t.Fatal(err)
			}
			id, result := ring.Match(cert.Chain[0], false)
			if result != Matched {
				t.Fatal("the certificate does not match")
			}
			o.request.Key = id
		}
		o.transcript.Write(m.Raw)
		if m.Type == handshake.TypeClientKeyExchange {
			encrypted, err := handshake.ParseClientKeyExchangeRSA(m, o.request.Version)
			if err != nil {
				t.Fatal(err)
			}
			o.request.EncryptedPremaster = encrypted
			if o.request.SessionHash != nil {
				o.request.SessionHash = o.transcript.SessionHash() // RFC 7627, Section 3
			}
		}
	}
	return o
}

func (o *opened) hello(t *testing.T, m handshake.Message) {
	hello, err := handshake.ParseServerHello(m)
	if err != nil {
		t.Fatal(err)
	}
	o.suite = suiteOf(t, hello.CipherSuite)
	o.request.Version, o.request.PRF = hello.Version, o.suite.PRF
	o.request.Client, o.request.Server = o.random, hello.Random
	if hello.ExtendedMasterSecret {
		o.request.SessionHash = []byte{}
	}
	o.transcript.SetVersion(hello.Version, o.suite.PRF)
}

// What crypto/tls derives is what we derive, from its bytes on the wire: the master secret, which it
// logs, and the first Finished, which it shows as the tls-unique channel binding (RFC 5929, Section
// 3.1). The second connection resumes the first.
func TestAgainstCryptoTLS(t *testing.T) {
	key := key2048(t)
	leaf := certFor(t, key, nil)
	ring := new(Ring)
	if err := ring.Add("server.pem", leaf, key); err != nil {
		t.Fatal(err)
	}
	local := NewLocal(ring)
	for _, test := range []struct{ version, suite uint16 }{
		{tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA},
		{tls.VersionTLS11, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA},
		{tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_CBC_SHA256},
		{tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
		{tls.VersionTLS12, tls.TLS_RSA_WITH_AES_256_GCM_SHA384},
	} {
		t.Run(tls.VersionName(test.version)+" "+tls.CipherSuiteName(test.suite), func(t *testing.T) {
			var log bytes.Buffer
			client := &tls.Config{InsecureSkipVerify: true, MinVersion: test.version, MaxVersion: test.version,
				CipherSuites: []uint16{test.suite}, KeyLogWriter: &log, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf}, PrivateKey: key}},
				MinVersion: test.version, CipherSuites: []uint16{test.suite}}
			fromClient, fromServer, state := peers(t, client, server)
			o := open(t, ring, fromClient, fromServer)
			if state.DidResume || o.suite.ID != test.suite || uint16(o.request.Version) != test.version || o.request.SessionHash == nil {
				t.Fatal("not the handshake that this test is about")
			}
			master := mustMaster(t, local.MasterSecret(o.request))
			logged := "CLIENT_RANDOM " + hexOf(o.random[:]) + " " + hexOf(master)
			if !bytes.Contains(log.Bytes(), []byte(logged)) {
				t.Errorf("the master secret is not the one in the key log")
			}
			if !o.transcript.CheckFinished(master, handshake.Client, state.TLSUnique) {
				t.Errorf("the client's Finished is another")
			}

			fromClient, fromServer, state = peers(t, client, server)
			if !state.DidResume {
				t.Fatal("not resumed")
			}
			again := open(t, ring, fromClient, fromServer)
			if !again.transcript.CheckFinished(master, handshake.Server, state.TLSUnique) {
				t.Errorf("the server's Finished is another after resumption")
			}
		})
	}
}
