// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record"
	"github.com/sightglass/sightglass/rsakex"
)

const (
	suiteGCM = 0x009c // TLS_RSA_WITH_AES_128_GCM_SHA256
	suiteCBC = 0x0035 // TLS_RSA_WITH_AES_256_CBC_SHA

	version   = handshake.TLS12
	sessionID = 32 // bytes
)

// tlsConn is one side of a TLS 1.2 connection with RSA key exchange.
type tlsConn struct {
	net.Conn
	side    handshake.Side
	suite   *handshake.Suite
	buf     *[]byte
	r, w    int // what of buf is unread
	out     []byte
	opener  *record.Opener
	sealer  *record.Sealer
	plain   []byte
	hs      rsakex.Transcript
	msgs    handshake.Messages
	random  [2]handshake.Random
	master  []byte
	id      []byte
	resumed bool
}

// readSize is what one read takes at most.
const readSize = 256 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func newConn(c net.Conn, side handshake.Side) *tlsConn {
	t := &tlsConn{Conn: c, side: side, buf: readBuffers.Get().(*[]byte)}
	t.msgs.Limit = 64 << 10
	return t
}

// release gives the read buffer back; nothing may be unread.
func (t *tlsConn) release() {
	if t.buf != nil && t.r == t.w {
		readBuffers.Put(t.buf)
		t.buf, t.r, t.w = nil, 0, 0
	}
}

// record reads one whole record. It is valid until the next read.
func (t *tlsConn) record() ([]byte, error) {
	if t.buf == nil {
		t.buf = readBuffers.Get().(*[]byte)
	}
	for {
		have := (*t.buf)[t.r:t.w]
		if len(have) >= handshake.RecordHeaderLen {
			size := handshake.RecordHeaderLen + int(have[3])<<8 + int(have[4])
			if len(have) >= size {
				t.r += size
				return have[:size], nil
			}
		}
		if t.r > 0 {
			t.w = copy(*t.buf, have)
			t.r = 0
		}
		n, err := t.Conn.Read((*t.buf)[t.w:])
		if n == 0 && err != nil {
			return nil, err
		}
		t.w += n
	}
}

// content reads one record of the given type and opens it.
func (t *tlsConn) content(want handshake.ContentType) ([]byte, error) {
	rec, err := t.record()
	if err != nil {
		return nil, err
	}
	typ, b := handshake.ContentType(rec[0]), rec[handshake.RecordHeaderLen:]
	if t.opener != nil {
		if t.plain == nil {
			t.plain = make([]byte, 0, handshake.MaxCiphertext)
		}
		if typ, b, err = t.opener.Open(t.plain[:0], rec); err != nil {
			return nil, err
		}
	}
	if typ == handshake.ContentAlert && len(b) == 2 {
		return nil, fmt.Errorf("alert %d", b[1])
	}
	if typ != want {
		return nil, fmt.Errorf("a record of type %d where %d was expected", typ, want)
	}
	return b, nil
}

func (t *tlsConn) message(want ...handshake.MessageType) (handshake.Message, error) {
	for {
		m, ok, err := t.msgs.Next()
		if err != nil {
			return m, err
		}
		if ok {
			for _, typ := range want {
				if m.Type == typ {
					m.Raw = bytes.Clone(m.Raw)
					return m, nil
				}
			}
			return m, fmt.Errorf("a %v where a %v was expected", m.Type, want[0])
		}
		b, err := t.content(handshake.ContentHandshake)
		if err != nil {
			return m, err
		}
		t.msgs.Push(b)
	}
}

// say adds a handshake message to the flight, in a record of its own.
func (t *tlsConn) say(typ handshake.MessageType, body []byte) error {
	raw := append([]byte{byte(typ), byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	t.hs.Write(raw)
	return t.add(handshake.ContentHandshake, raw)
}

// add adds a record to the flight.
func (t *tlsConn) add(typ handshake.ContentType, b []byte) (err error) {
	if t.sealer != nil {
		t.out, err = t.sealer.Seal(t.out, typ, b)
		return err
	}
	t.out = append(t.out, byte(typ), byte(version>>8), byte(version&0xff), byte(len(b)>>8), byte(len(b)))
	t.out = append(t.out, b...)
	return nil
}

// flush sends the flight.
func (t *tlsConn) flush() error {
	_, err := t.Conn.Write(t.out)
	t.out = t.out[:0]
	return err
}

// write sends one record of application data.
func (t *tlsConn) write(b []byte) error {
	if err := t.add(handshake.ContentApplicationData, b); err != nil {
		return err
	}
	return t.flush()
}

// keys derives both directions' protection.
func (t *tlsConn) keys() (o *record.Opener, s *record.Sealer, err error) {
	p := record.Params{Version: version, Suite: t.suite}
	mac, key, iv := record.KeySizes(p)
	client, server := rsakex.ExpandKeys(version, t.suite, t.master, t.random[0], t.random[1], mac, key, iv)
	mine, theirs := client, server
	if t.side == handshake.Server {
		mine, theirs = server, client
	}
	if o, err = record.NewOpener(p, record.Keys(theirs)); err != nil {
		return nil, nil, err
	}
	s, err = record.NewSealer(p, record.Keys(mine))
	return o, s, err
}

// finish sends ChangeCipherSpec and Finished.
func (t *tlsConn) finish(s *record.Sealer) error {
	verify := t.hs.Finished(t.master, t.side)
	if err := t.add(handshake.ContentChangeCipherSpec, []byte{1}); err != nil {
		return err
	}
	t.sealer = s
	if err := t.say(handshake.TypeFinished, verify); err != nil {
		return err
	}
	return t.flush()
}

// awaitFinished takes the peer's ChangeCipherSpec and Finished. A ticket before them is for others.
func (t *tlsConn) awaitFinished(o *record.Opener) error {
	if _, err := t.content(handshake.ContentChangeCipherSpec); err != nil {
		return err
	}
	t.opener = o
	m, err := t.message(handshake.TypeFinished)
	if err != nil {
		return err
	}
	if !t.hs.CheckFinished(t.master, t.side.Opposite(), m.Body()) {
		return errors.New("the peer's Finished is wrong")
	}
	t.hs.Write(m.Raw)
	return nil
}

// session is what a client resumes by.
type session struct {
	id     []byte
	master []byte
}

// identity is a certificate and its key, as the client or the server has them.
type identity struct {
	cert []byte // DER
	key  *rsa.PrivateKey
	// A premaster secret that both peers know, and what it is encrypted.
	premaster, sealed []byte
	many              *manyPrimes // instead of the rest
}

// client makes a handshake as the client. own is nil unless the server may ask for a certificate.
func (t *tlsConn) client(suite uint16, server, own *identity, resume *session) error {
	t.hello(suite, resume)
	if err := t.flush(); err != nil {
		return err
	}
	m, err := t.message(handshake.TypeServerHello)
	if err != nil {
		return err
	}
	hello, err := handshake.ParseServerHello(m)
	if err != nil {
		return err
	}
	t.random[1] = hello.Random
	if err := t.choose(hello.CipherSuite); err != nil {
		return err
	}
	t.hs.Write(m.Raw)
	t.id = hello.SessionID
	if resume != nil && bytes.Equal(hello.SessionID, resume.id) {
		t.resumed, t.master = true, resume.master
		return t.abbreviated()
	}
	asked, err := t.serverFlight()
	if err != nil {
		return err
	}
	if err := t.clientFlight(server, own, asked); err != nil {
		return err
	}
	o, s, err := t.keys()
	if err != nil {
		return err
	}
	if err := t.finish(s); err != nil {
		return err
	}
	return t.awaitFinished(o)
}

// choose takes the suite that the server chose.
func (t *tlsConn) choose(id uint16) error {
	suite, ok := handshake.SuiteByID(id)
	if !ok {
		return fmt.Errorf("the server chose suite %#x", id)
	}
	t.suite = suite
	t.hs.SetVersion(version, suite.PRF)
	return nil
}

func (t *tlsConn) hello(suite uint16, resume *session) {
	rand.Read(t.random[0][:])
	body := append([]byte{byte(version >> 8), byte(version & 0xff)}, t.random[0][:]...)
	var id []byte
	if resume != nil {
		id = resume.id
	}
	body = append(append(body, byte(len(id))), id...)
	body = append(body, 0, 4, byte(suite>>8), byte(suite), 0, 0xff) // and the signalling suite of RFC 5746
	body = append(body, 1, 0)
	name := []byte("bench.example")
	ext := binary.BigEndian.AppendUint16(nil, 0) // server_name
	ext = binary.BigEndian.AppendUint16(ext, uint16(len(name)+5))
	ext = binary.BigEndian.AppendUint16(ext, uint16(len(name)+3))
	ext = append(append(ext, 0, 0, byte(len(name))), name...)
	ext = append(ext, 0, 13, 0, 4, 0, 2, 4, 1) // signature_algorithms: rsa_pkcs1_sha256
	body = binary.BigEndian.AppendUint16(body, uint16(len(ext)))
	_ = t.say(handshake.TypeClientHello, append(body, ext...))
}

// serverFlight takes the rest of the server's first flight.
func (t *tlsConn) serverFlight() (asked bool, err error) {
	for {
		m, err := t.message(handshake.TypeCertificate, handshake.TypeCertificateRequest, handshake.TypeServerHelloDone)
		if err != nil {
			return asked, err
		}
		t.hs.Write(m.Raw)
		switch m.Type {
		case handshake.TypeCertificateRequest:
			asked = true
		case handshake.TypeServerHelloDone:
			return asked, nil
		}
	}
}

// clientFlight adds the client's messages up to its ChangeCipherSpec.
func (t *tlsConn) clientFlight(server, own *identity, asked bool) error {
	if asked {
		if own == nil {
			return errors.New("the server asks for a certificate")
		}
		if err := t.say(handshake.TypeCertificate, certificates(own.cert)); err != nil {
			return err
		}
	}
	sealed := binary.BigEndian.AppendUint16(nil, uint16(len(server.sealed)))
	if err := t.say(handshake.TypeClientKeyExchange, append(sealed, server.sealed...)); err != nil {
		return err
	}
	t.master = rsakex.MasterSecret(version, t.suite.PRF, server.premaster, t.random[0], t.random[1])
	if !asked {
		return nil
	}
	sum := sha256.Sum256(t.hs.Raw())
	sig, err := rsa.SignPKCS1v15(nil, own.key, crypto.SHA256, sum[:])
	if err != nil {
		return err
	}
	body := binary.BigEndian.AppendUint16([]byte{4, 1}, uint16(len(sig)))
	return t.say(handshake.TypeCertificateVerify, append(body, sig...))
}

// abbreviated is a client's handshake that resumes a session.
func (t *tlsConn) abbreviated() error {
	o, s, err := t.keys()
	if err != nil {
		return err
	}
	if err := t.awaitFinished(o); err != nil {
		return err
	}
	return t.finish(s)
}

func certificates(der []byte) []byte {
	n := len(der)
	b := []byte{byte((n + 3) >> 16), byte((n + 3) >> 8), byte(n + 3), byte(n >> 16), byte(n >> 8), byte(n)}
	return append(b, der...)
}

// errNotResumed says that the server made a full handshake.
var errNotResumed = errors.New("the session was not resumed")

// isEOF reports whether a peer closed, in order or not.
func isEOF(err error) bool { return errors.Is(err, io.EOF) }
