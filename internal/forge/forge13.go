// SPDX-License-Identifier: Apache-2.0

package forge

import (
	"crypto/rand"
	"fmt"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record"
	"github.com/sightglass/sightglass/rsakex"
)

// Options13 say what a TLS 1.3 handshake is like. It has no certificates: it is as one with a
// pre-shared key.
type Options13 struct {
	Suite  uint16
	Early  [][]byte // early data, a record each; nil: none is offered
	Before int      // how many of them are sent before the server answers
	Accept bool     // the server accepts the early data
	Retry  bool     // a HelloRetryRequest comes first
	CCS    bool     // ChangeCipherSpec records for middleboxes
}

// Conn13 is a TLS 1.3 connection in the making. Its secrets are random, as if a key exchange had made
// them.
type Conn13 struct {
	Segments []Segment
	Random   handshake.Random
	Secrets  map[string][]byte // by the labels of an NSS key log

	o          Options13
	suite      *handshake.Suite
	transcript *rsakex.Transcript
	conn       Conn // takes the records
	current    [2][]byte
}

// New13 returns a TLS 1.3 connection whose handshake is done.
func New13(o Options13) *Conn13 {
	suite, ok := handshake.SuiteByID(o.Suite)
	if !ok {
		panic("forge: unknown suite")
	}
	c := &Conn13{o: o, suite: suite, transcript: new(rsakex.Transcript), Secrets: make(map[string][]byte)}
	c.conn.o.Version = handshake.TLS12
	rand.Read(c.Random[:])
	for _, label := range []string{
		"CLIENT_EARLY_TRAFFIC_SECRET", "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET",
		"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0",
	} {
		c.Secrets[label] = make([]byte, suite.PRF.Size())
		rand.Read(c.Secrets[label])
	}
	c.handshake()
	c.Segments = c.conn.Segments
	return c
}

func (c *Conn13) handshake() {
	early := c.o.Early
	c.hello(early != nil)
	if c.o.CCS && early != nil {
		c.conn.Raw(handshake.Client, []byte{20, 3, 3, 0, 1, 1})
	}
	if early != nil {
		c.protect(handshake.Client, "CLIENT_EARLY_TRAFFIC_SECRET")
		for _, b := range early[:c.o.Before] {
			c.conn.Record(handshake.Client, handshake.ContentApplicationData, b)
		}
		early = early[c.o.Before:]
	}
	c.transcript.SetVersion(handshake.TLS13, c.suite.PRF)
	if c.o.Retry {
		c.transcript.HelloRetryRequest()
		retry := handshake.Random{
			0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
			0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
		}
		c.serverHello(retry)
		c.conn.sealers[handshake.Client] = nil
		c.hello(false)
	}
	var random handshake.Random
	rand.Read(random[:])
	c.serverHello(random)
	if c.o.CCS {
		c.conn.Raw(handshake.Server, []byte{20, 3, 3, 0, 1, 1})
	}
	c.protect(handshake.Server, "SERVER_HANDSHAKE_TRAFFIC_SECRET")
	var ext []byte
	if c.o.Accept {
		ext = extension(42, nil)
	}
	c.Message(handshake.Server, handshake.TypeEncryptedExtensions, vector(2, ext))
	c.finished(handshake.Server, "SERVER_TRAFFIC_SECRET_0")
	for _, b := range early {
		c.conn.Record(handshake.Client, handshake.ContentApplicationData, b)
	}
	if c.o.Accept {
		c.Message(handshake.Client, handshake.TypeEndOfEarlyData, nil)
	} else if c.o.CCS {
		c.conn.Raw(handshake.Client, []byte{20, 3, 3, 0, 1, 1})
	}
	c.protect(handshake.Client, "CLIENT_HANDSHAKE_TRAFFIC_SECRET")
	c.finished(handshake.Client, "CLIENT_TRAFFIC_SECRET_0")
}

func (c *Conn13) hello(early bool) {
	ext := extension(43, vector(1, []byte{3, 4}))
	if early {
		ext = append(ext, extension(42, nil)...)
	}
	body := append([]byte{3, 3}, c.Random[:]...)
	body = append(body, vector(1, make([]byte, 32))...)
	body = append(body, vector(2, []byte{byte(c.o.Suite >> 8), byte(c.o.Suite)})...)
	body = append(body, 1, 0)
	c.Message(handshake.Client, handshake.TypeClientHello, append(body, vector(2, ext)...))
}

func (c *Conn13) serverHello(random handshake.Random) {
	body := append([]byte{3, 3}, random[:]...)
	body = append(body, vector(1, make([]byte, 32))...)
	body = append(body, byte(c.o.Suite>>8), byte(c.o.Suite), 0)
	c.Message(handshake.Server, handshake.TypeServerHello, append(body, vector(2, extension(43, []byte{3, 4}))...))
}

// Message sends a handshake message, as one record.
func (c *Conn13) Message(side handshake.Side, typ handshake.MessageType, body []byte) {
	n := len(body)
	raw := append([]byte{byte(typ), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
	c.transcript.Write(raw)
	c.conn.Record(side, handshake.ContentHandshake, raw)
	c.Segments = c.conn.Segments
}

// Send sends application data.
func (c *Conn13) Send(side handshake.Side, b []byte) {
	c.conn.Send(side, b)
	c.Segments = c.conn.Segments
}

// Update sends a KeyUpdate and changes the side's keys.
func (c *Conn13) Update(side handshake.Side) {
	c.Message(side, handshake.TypeKeyUpdate, []byte{0})
	c.keys(side, rsakex.NextTrafficSecret(c.suite, c.current[side]))
}

func (c *Conn13) finished(side handshake.Side, next string) {
	verify := rsakex.Finished13(c.suite, c.current[side], c.transcript.SessionHash())
	c.Message(side, handshake.TypeFinished, verify)
	c.protect(side, next)
}

func (c *Conn13) protect(side handshake.Side, label string) { c.keys(side, c.Secrets[label]) }

func (c *Conn13) keys(side handshake.Side, secret []byte) {
	p := record.Params{Version: handshake.TLS13, Suite: c.suite}
	s, err := record.NewSealer(p, record.Keys(rsakex.TrafficKeys13(c.suite, secret)))
	if err != nil {
		panic(fmt.Sprintf("forge: %v", err))
	}
	c.conn.sealers[side] = s
	c.current[side] = secret
}
