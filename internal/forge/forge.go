// SPDX-License-Identifier: Apache-2.0

// Package forge makes TLS connections for tests: what a client and a server with RSA key exchange
// would say to each other, in any version and suite that can be sealed, as bytes with no socket.
package forge

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record"
	"github.com/sightglass/sightglass/rsakex"
)

// Segment is what one side sends before the other does.
type Segment struct {
	Side handshake.Side
	Data []byte
}

// Options say what a handshake is like.
type Options struct {
	Version handshake.Version
	Suite   uint16
	EMS     bool // extended master secret
	EtM     bool // encrypt-then-MAC
	Deflate bool
	Secure  bool // the server binds a renegotiation to what was before (RFC 5746)

	Key   *rsa.PrivateKey // the server's
	Chain [][]byte        // the server's, DER

	ClientKey   *rsa.PrivateKey // nil: no client certificate is asked for
	ClientChain [][]byte

	SessionID []byte // that the server gives
	Ticket    []byte // that the server gives
	Resume    *State // resume this session

	NPN        string // what the client takes of NPN; "": not offered
	FalseStart []byte // application data of the client's before the server's Finished

	BadPadding    bool   // the premaster secret's padding is wrong
	Premaster     []byte // 48 bytes; nil: random
	V2Hello       bool   // an SSLv2-compatible ClientHello
	RecordEach    bool   // each handshake message in records of its own
	Fragment      int    // largest handshake fragment in a record, bytes; 0: as large as fits
	WrongFinished *handshake.Side
	WithFinished  []byte // what the server sends in one record with its Finished, behind it
	Cut           string // the name of a message after which the handshake stops; "": none
}

// State is what resumes a session.
type State struct {
	Options  Options
	Master   []byte
	ByTicket bool
}

// Conn is a connection in the making.
type Conn struct {
	Segments []Segment
	Master   []byte           // of the last handshake
	Random   handshake.Random // the client's, of the last handshake

	o          Options
	suite      *handshake.Suite
	sealers    [2]*record.Sealer
	transcript *rsakex.Transcript
	client     handshake.Random
	server     handshake.Random
	sessionID  []byte
	pending    [2][]byte // handshake bytes of the current flight not yet in a record
	first      bool
}

// New returns a connection whose handshake is done. It panics on options that make no sense, as a
// test would want.
func New(o Options) *Conn {
	c := &Conn{first: true}
	c.Handshake(o)
	return c
}

// State returns what resumes the session by its ID, or by its ticket.
func (c *Conn) State(byTicket bool) *State {
	return &State{Options: c.o, Master: c.Master, ByTicket: byTicket}
}

// Bytes returns all that a side sent.
func (c *Conn) Bytes(side handshake.Side) []byte {
	var b []byte
	for _, s := range c.Segments {
		if s.Side == side {
			b = append(b, s.Data...)
		}
	}
	return b
}

// Send seals application data, in records of at most 16 KiB.
func (c *Conn) Send(side handshake.Side, data []byte) {
	for first := true; first || len(data) > 0; first = false {
		n := min(len(data), handshake.MaxPlaintext)
		c.Record(side, handshake.ContentApplicationData, data[:n])
		data = data[n:]
	}
}

// Alert sends an alert.
func (c *Conn) Alert(side handshake.Side, a handshake.Alert) {
	c.Record(side, handshake.ContentAlert, []byte{byte(a.Level), byte(a.Description)})
}

// HelloRequest asks the client to renegotiate.
func (c *Conn) HelloRequest() {
	c.Record(handshake.Server, handshake.ContentHandshake, []byte{0, 0, 0, 0})
}

// Record sends one record, protected if the side's protection has begun.
func (c *Conn) Record(side handshake.Side, typ handshake.ContentType, body []byte) {
	var rec []byte
	if s := c.sealers[side]; s != nil {
		var err error
		if rec, err = s.Seal(nil, typ, body); err != nil {
			panic(fmt.Sprintf("forge: seal: %v", err))
		}
	} else {
		v := c.o.Version
		rec = append([]byte{byte(typ), byte(v >> 8), byte(v), byte(len(body) >> 8), byte(len(body))}, body...)
	}
	c.Raw(side, rec)
}

// Raw sends bytes as they are.
func (c *Conn) Raw(side handshake.Side, b []byte) {
	if n := len(c.Segments); n > 0 && c.Segments[n-1].Side == side {
		c.Segments[n-1].Data = append(c.Segments[n-1].Data, b...)
		return
	}
	c.Segments = append(c.Segments, Segment{side, append([]byte(nil), b...)})
}

// Handshake adds a handshake: the first, or a renegotiation.
func (c *Conn) Handshake(o Options) {
	suite, ok := handshake.SuiteByID(o.Suite)
	if !ok {
		panic("forge: unknown suite")
	}
	c.o, c.suite = o, suite
	c.transcript = new(rsakex.Transcript)
	rand.Read(c.client[:])
	rand.Read(c.server[:])
	c.Random = c.client
	c.sessionID = o.SessionID
	c.clientHello()
	if o.Cut == "ClientHello" {
		return
	}
	c.serverHello()
	switch {
	case o.Cut == "ServerHello":
		c.flush(handshake.Server)
	case o.Resume != nil:
		c.abbreviated()
	default:
		c.full()
	}
}

func (c *Conn) full() {
	o := c.o
	c.message(handshake.Server, handshake.TypeCertificate, certificates(o.Chain))
	if o.ClientKey != nil {
		c.message(handshake.Server, handshake.TypeCertificateRequest, c.certificateRequest())
	}
	c.message(handshake.Server, handshake.TypeServerHelloDone, nil)
	c.flush(handshake.Server)
	if o.Cut == "ServerHelloDone" {
		return
	}
	if o.ClientKey != nil {
		c.message(handshake.Client, handshake.TypeCertificate, certificates(o.ClientChain))
	}
	c.keyExchange()
	if o.ClientKey != nil {
		c.message(handshake.Client, handshake.TypeCertificateVerify, c.certificateVerify())
	}
	c.flush(handshake.Client)
	next := c.protect()
	c.finish(handshake.Client, next[handshake.Client])
	if o.FalseStart != nil {
		c.Send(handshake.Client, o.FalseStart)
	}
	if o.Ticket != nil {
		c.message(handshake.Server, handshake.TypeNewSessionTicket, ticket(o.Ticket))
		c.flush(handshake.Server)
	}
	c.finish(handshake.Server, next[handshake.Server])
	c.first = false
}

func (c *Conn) abbreviated() {
	c.Master = c.o.Resume.Master
	if c.o.Ticket != nil {
		c.message(handshake.Server, handshake.TypeNewSessionTicket, ticket(c.o.Ticket))
	}
	c.flush(handshake.Server)
	next := c.protect()
	c.finish(handshake.Server, next[handshake.Server])
	c.finish(handshake.Client, next[handshake.Client])
	c.first = false
}

// finish sends ChangeCipherSpec and Finished.
func (c *Conn) finish(side handshake.Side, next *record.Sealer) {
	c.Record(side, handshake.ContentChangeCipherSpec, []byte{1})
	c.sealers[side] = next
	if side == handshake.Client && c.o.NPN != "" {
		c.message(side, handshake.TypeNextProtocol, append(vector(1, []byte(c.o.NPN)), vector(1, make([]byte, 20))...))
	}
	verify := c.transcript.Finished(c.Master, side)
	if w := c.o.WrongFinished; w != nil && *w == side {
		verify[0] ^= 1
	}
	c.message(side, handshake.TypeFinished, verify)
	if side == handshake.Server {
		c.pending[side] = append(c.pending[side], c.o.WithFinished...)
	}
	c.flush(side)
}

func (c *Conn) protect() (next [2]*record.Sealer) {
	for i := range next {
		p, k := c.keys(handshake.Side(i))
		s, err := record.NewSealer(p, k)
		if err != nil {
			panic(fmt.Sprintf("forge: %s: %v", c.suite.Name, err))
		}
		next[i] = s
	}
	return next
}

// Opener opens what a side sent after its ChangeCipherSpec of the last handshake.
func (c *Conn) Opener(side handshake.Side) *record.Opener {
	o, err := record.NewOpener(c.keys(side))
	if err != nil {
		panic(fmt.Sprintf("forge: %s: %v", c.suite.Name, err))
	}
	return o
}

func (c *Conn) keys(side handshake.Side) (record.Params, record.Keys) {
	p := record.Params{Version: c.o.Version, Suite: c.suite, EncryptThenMAC: c.o.EtM}
	if c.o.Deflate {
		p.Compression = 1
	}
	mac, key, iv := record.KeySizes(p)
	client, server := rsakex.ExpandKeys(p.Version, c.suite, c.Master, c.client, c.server, mac, key, iv)
	return p, record.Keys([2]rsakex.DirectionKeys{client, server}[side])
}

// keyExchange encrypts the premaster secret to the server's key (RFC 5246, Section 7.4.7.1).
func (c *Conn) keyExchange() {
	premaster := c.o.Premaster
	if premaster == nil {
		premaster = make([]byte, 48)
		rand.Read(premaster)
		premaster[0], premaster[1] = byte(c.o.Version>>8), byte(c.o.Version)
	}
	//lint:ignore SA1019 the protocol demands it, and this is a test's client
	encrypted, err := rsa.EncryptPKCS1v15(rand.Reader, &c.o.Key.PublicKey, premaster)
	if err != nil {
		panic(fmt.Sprintf("forge: %v", err))
	}
	if c.o.BadPadding {
		rand.Read(encrypted[1:])
		encrypted[0] = 0
	}
	body := encrypted
	if c.o.Version > handshake.SSL30 {
		body = vector(2, encrypted)
	}
	c.message(handshake.Client, handshake.TypeClientKeyExchange, body)
	v, h := c.o.Version, c.suite.PRF
	if c.o.EMS {
		c.Master = rsakex.ExtendedMasterSecret(v, h, premaster, c.transcript.SessionHash())
	} else {
		c.Master = rsakex.MasterSecret(v, h, premaster, c.client, c.server)
	}
}

func (c *Conn) certificateVerify() []byte {
	if c.o.Version == handshake.SSL30 {
		hash := c.transcript.CertificateVerifySSL3(c.Master)
		return vector(2, c.sign(crypto.MD5SHA1, hash))
	}
	if c.o.Version < handshake.TLS12 {
		return vector(2, c.sign(crypto.MD5SHA1, c.transcript.SessionHash()))
	}
	h := crypto.SHA256.New()
	h.Write(c.transcript.Raw())
	return append([]byte{4, 1}, vector(2, c.sign(crypto.SHA256, h.Sum(nil)))...)
}

func (c *Conn) sign(h crypto.Hash, digest []byte) []byte {
	s, err := rsa.SignPKCS1v15(rand.Reader, c.o.ClientKey, h, digest)
	if err != nil {
		panic(fmt.Sprintf("forge: %v", err))
	}
	return s
}
