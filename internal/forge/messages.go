// SPDX-License-Identifier: Apache-2.0

package forge

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// message adds a handshake message to the side's flight and to the transcript.
func (c *Conn) message(side handshake.Side, typ handshake.MessageType, body []byte) {
	n := len(body)
	raw := append([]byte{byte(typ), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
	c.transcript.Write(raw)
	c.pending[side] = append(c.pending[side], raw...)
	if c.o.RecordEach {
		c.flush(side)
	}
}

// flush puts the flight into records.
func (c *Conn) flush(side handshake.Side) {
	limit := c.o.Fragment
	if limit == 0 {
		limit = handshake.MaxPlaintext
	}
	for b := c.pending[side]; len(b) > 0; {
		n := min(limit, len(b))
		c.Record(side, handshake.ContentHandshake, b[:n])
		b = b[n:]
	}
	c.pending[side] = nil
}

func (c *Conn) clientHello() {
	if c.o.V2Hello {
		c.v2Hello()
		return
	}
	var id, offered []byte
	if r := c.o.Resume; r != nil {
		id, offered = r.Options.SessionID, r.Options.Ticket
		if !r.ByTicket {
			offered = nil
		} else if len(id) == 0 {
			id = make([]byte, 32) // so that the server can say that it resumes (RFC 5077, Section 3.4)
			rand.Read(id)
		}
		c.sessionID = id
	}
	body := append([]byte{byte(c.o.Version >> 8), byte(c.o.Version)}, c.client[:]...)
	body = append(body, vector(1, id)...)
	body = append(body, vector(2, []byte{byte(c.o.Suite >> 8), byte(c.o.Suite)})...)
	if c.o.Deflate {
		body = append(body, 2, 1, 0)
	} else {
		body = append(body, 1, 0)
	}
	var ext []byte
	if c.o.Version > handshake.SSL30 {
		name := append([]byte{0}, vector(2, []byte("forge.example"))...)
		ext = append(ext, extension(0, vector(2, name))...)
	}
	ext = append(ext, c.extensions(offered, c.o.Ticket != nil || offered != nil)...)
	if len(ext) > 0 {
		body = append(body, vector(2, ext)...)
	}
	c.message(handshake.Client, handshake.TypeClientHello, body)
	c.flush(handshake.Client)
}

func (c *Conn) extensions(ticket []byte, hasTicket bool) (ext []byte) {
	if c.o.EMS {
		ext = append(ext, extension(23, nil)...)
	}
	if c.o.EtM {
		ext = append(ext, extension(22, nil)...)
	}
	if hasTicket {
		ext = append(ext, extension(35, ticket)...)
	}
	if c.o.NPN != "" {
		ext = append(ext, extension(0x3374, nil)...)
	}
	return ext
}

// v2Hello is an SSLv2-compatible CLIENT-HELLO with a challenge of 16 bytes (RFC 5246, Appendix E.2).
func (c *Conn) v2Hello() {
	for i := range 16 {
		c.client[i] = 0
	}
	c.Random = c.client
	body := []byte{1, byte(c.o.Version >> 8), byte(c.o.Version), 0, 3, 0, 0, 0, 16,
		0, byte(c.o.Suite >> 8), byte(c.o.Suite)}
	body = append(body, c.client[16:]...)
	c.transcript.Write(body)
	c.Raw(handshake.Client, append([]byte{0x80, byte(len(body))}, body...))
}

func (c *Conn) serverHello() {
	body := append([]byte{byte(c.o.Version >> 8), byte(c.o.Version)}, c.server[:]...)
	body = append(body, vector(1, c.sessionID)...)
	body = append(body, byte(c.o.Suite>>8), byte(c.o.Suite), 0)
	if c.o.Deflate {
		body[len(body)-1] = 1
	}
	ext := c.extensions(nil, c.o.Ticket != nil)
	if c.o.Secure {
		ext = append(ext, extension(0xff01, vector(1, make([]byte, 24)))...) // not what it should be, but as long
	}
	if len(ext) > 0 {
		body = append(body, vector(2, ext)...)
	}
	c.transcript.SetVersion(c.o.Version, c.suite.PRF)
	c.message(handshake.Server, handshake.TypeServerHello, body)
}

func (c *Conn) certificateRequest() []byte {
	body := []byte{1, 1} // rsa_sign
	if c.o.Version >= handshake.TLS12 {
		body = append(body, 0, 2, 4, 1) // rsa_pkcs1_sha256
	}
	return append(body, 0, 0)
}

func certificates(chain [][]byte) []byte {
	var all []byte
	for _, der := range chain {
		all = append(all, vector(3, der)...)
	}
	return vector(3, all)
}

func ticket(t []byte) []byte { return append([]byte{0, 0, 1, 44}, vector(2, t)...) }

func extension(typ uint16, data []byte) []byte {
	return append([]byte{byte(typ >> 8), byte(typ)}, vector(2, data)...)
}

// vector puts a length of the given number of bytes in front.
func vector(size int, data []byte) []byte {
	b := make([]byte, size, size+len(data))
	for i, n := size-1, len(data); i >= 0; i, n = i-1, n>>8 {
		b[i] = byte(n)
	}
	return append(b, data...)
}

// Certificate makes a key of the given size and a self-signed certificate on it.
func Certificate(name string, bits int) (*rsa.PrivateKey, []byte) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(fmt.Sprintf("forge: %v", err))
	}
	return key, SelfSigned(name, key)
}

// SelfSigned makes a self-signed certificate on a key.
func SelfSigned(name string, key *rsa.PrivateKey) []byte {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour * 24 * 365),
	}, &x509.Certificate{Subject: pkix.Name{CommonName: name}}, &key.PublicKey, key)
	if err != nil {
		panic(fmt.Sprintf("forge: %v", err))
	}
	return der
}
