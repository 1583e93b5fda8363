// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/keylog"
	"github.com/sightglass/sightglass/rsakex"
)

// flightOf returns the messages of a server's first flight, without records.
func flightOf(o forge.Options) (messages []byte) {
	o.Cut, o.RecordEach, o.Fragment = "ServerHelloDone", false, 0
	c := forge.New(o)
	for b := c.Bytes(handshake.Server); len(b) > 0; {
		n := handshake.RecordHeaderLen + int(b[3])<<8 + int(b[4])
		messages = append(messages, b[handshake.RecordHeaderLen:n]...)
		b = b[n:]
	}
	return messages
}

// plainRecord is one record that is not protected.
func plainRecord(typ handshake.ContentType, v handshake.Version, body []byte) []byte {
	return append([]byte{byte(typ), byte(v >> 8), byte(v), byte(len(body) >> 8), byte(len(body))}, body...)
}

// An attack is a connection of a hostile server, of whose bytes only the first so many may reach the
// client.
type attack struct {
	conn  *forge.Conn
	may   int
	cause Cause
}

func wrong(o forge.Options) forge.Options {
	o.Chain = [][]byte{hosts().otherCert}
	return o
}

func attacks() map[string]attack {
	good := options(handshake.TLS12, rsaAES128GCM)
	all := map[string]attack{}
	add := func(name string, c *forge.Conn, may int, cause Cause) { all[name] = attack{c, may, cause} }

	for _, fragment := range []int{0, 1, 50} {
		o := wrong(good)
		o.Fragment = fragment
		add(fmt.Sprintf("wrong certificate, fragments of %d", fragment), forge.New(o), 0, CertificateMismatch)
		o = good
		o.Suite, o.Fragment, o.Cut = 0xc02f, fragment, "ServerHello"
		add(fmt.Sprintf("wrong key exchange, fragments of %d", fragment), forge.New(o), 0, KeyExchangeNotRSA)
	}

	hello := good
	hello.Cut = "ClientHello"
	c := &forge.Conn{}
	c.Raw(handshake.Server, plainRecord(handshake.ContentHandshake, handshake.TLS12, flightOf(wrong(good))))
	c.Handshake(hello)
	add("before the ClientHello", c, 0, Malformed)

	c = &forge.Conn{}
	c.Raw(handshake.Server, plainRecord(handshake.ContentAlert, handshake.TLS12, []byte{1, 112}))
	may := len(c.Bytes(handshake.Server))
	c.Raw(handshake.Server, plainRecord(handshake.ContentHandshake, handshake.TLS12, flightOf(wrong(good))))
	c.Handshake(hello)
	add("before the ClientHello, after an alert", c, may, Malformed)

	c = forge.New(hello)
	for range 3 {
		c.Record(handshake.Server, handshake.ContentHandshake, nil)
	}
	c.Record(handshake.Server, handshake.ContentHandshake, flightOf(wrong(good))[:10])
	c.Record(handshake.Server, handshake.ContentAlert, []byte{1, 112})
	c.Record(handshake.Server, handshake.ContentHandshake, flightOf(wrong(good))[10:])
	add("empty records and alerts between", c, 0, CertificateMismatch)

	c = forge.New(hello)
	c.Record(handshake.Server, handshake.ContentAlert, []byte{1, 112})
	may = len(c.Bytes(handshake.Server))
	c.Record(handshake.Server, handshake.ContentHandshake, flightOf(wrong(good)))
	add("after an alert", c, may, CertificateMismatch)

	c = forge.New(hello)
	c.Raw(handshake.Server, plainRecord(handshake.ContentHandshake, handshake.TLS12, flightOf(good))[:60])
	add("the beginning of a flight, and no more", c, 0, CauseNone)

	c = forge.New(hello)
	c.Raw(handshake.Server, []byte("\x19\x03\x03\x00\x04\x02\x00\x00\x00"))
	add("an unknown record type", c, 0, NotTLS)

	v2 := options(handshake.SSL30, rsaAES128SHA)
	v2.V2Hello, v2.Cut = true, "ClientHello"
	c = forge.New(v2)
	c.Raw(handshake.Server, append([]byte{0x80, 0x20, 4, 0, 1, 0, 2}, make([]byte, 40)...))
	add("SSL 2.0", c, 0, VersionUnsupported)

	late := wrong(options(handshake.TLS10, rsaAES128SHA))
	late.V2Hello = true
	c = &forge.Conn{}
	c.Raw(handshake.Server, []byte("220 mail.example\r\n"))
	c.Raw(handshake.Client, []byte("STARTTLS\r\n"))
	c.Raw(handshake.Server, []byte("220 go ahead\r\n"))
	may = len(c.Bytes(handshake.Server))
	c.Handshake(late)
	add("an SSLv2-compatible ClientHello that comes late", c, may, CertificateMismatch)

	o := good
	o.Cut = "ServerHello"
	c = forge.New(o)
	c.Record(handshake.Server, handshake.ContentHandshake, []byte{14, 0, 0, 0})
	add("no certificate", c, 0, Malformed)

	c = forge.New(hello)
	c.Record(handshake.Server, handshake.ContentChangeCipherSpec, []byte{1})
	may = len(c.Bytes(handshake.Server))
	c.Record(handshake.Server, handshake.ContentHandshake, flightOf(wrong(good)))
	add("an early ChangeCipherSpec", c, may, Malformed)
	return all
}

// insideAttacks come within an established connection.
func insideAttacks() map[string]attack {
	good := options(handshake.TLS12, rsaAES128GCM)
	flight := flightOf(wrong(good))
	all := map[string]attack{}
	add := func(name string, cause Cause, build func(c *forge.Conn) (may int)) {
		c := forge.New(good)
		may := build(c)
		all[name] = attack{c, may, cause}
	}
	sent := func(c *forge.Conn) int { return len(c.Bytes(handshake.Server)) }
	hello := good
	hello.Cut = "ClientHello"

	for _, fragment := range []int{0, 1, 50} {
		add(fmt.Sprintf("wrong certificate, fragments of %d", fragment), CertificateMismatch, func(c *forge.Conn) int {
			may := sent(c)
			o := wrong(good)
			o.Fragment = fragment
			c.Handshake(o)
			return may
		})
	}
	add("at once behind the Finished", Malformed, func(c *forge.Conn) int {
		may := sent(c)
		c.Record(handshake.Server, handshake.ContentHandshake, flight)
		c.Handshake(hello)
		return may
	})
	add("behind a HelloRequest", Malformed, func(c *forge.Conn) int {
		c.HelloRequest()
		may := sent(c)
		c.Record(handshake.Server, handshake.ContentHandshake, flight)
		c.Handshake(hello)
		return may
	})
	add("in one record with a HelloRequest", Malformed, func(c *forge.Conn) int {
		may := sent(c)
		c.Record(handshake.Server, handshake.ContentHandshake, append([]byte{0, 0, 0, 0}, flight...))
		c.Handshake(hello)
		return may
	})
	add("begun before the ClientHello", CertificateMismatch, func(c *forge.Conn) int {
		may := sent(c)
		c.Record(handshake.Server, handshake.ContentHandshake, flight[:20])
		c.Handshake(hello)
		c.Record(handshake.Server, handshake.ContentHandshake, flight[20:])
		return may
	})
	add("with no_renegotiation in it", CertificateMismatch, func(c *forge.Conn) int {
		c.Handshake(hello)
		may := sent(c)
		c.Record(handshake.Server, handshake.ContentHandshake, flight[:100])
		c.Alert(handshake.Server, handshake.Alert{Level: 1, Description: handshake.AlertNoRenegotiation})
		c.Record(handshake.Server, handshake.ContentHandshake, flight[100:])
		return may
	})
	add("after no_renegotiation", Malformed, func(c *forge.Conn) int {
		c.Handshake(hello)
		c.Alert(handshake.Server, handshake.Alert{Level: 1, Description: handshake.AlertNoRenegotiation})
		may := sent(c)
		c.Record(handshake.Server, handshake.ContentHandshake, flight)
		return may
	})
	add("behind a ChangeCipherSpec", Malformed, func(c *forge.Conn) int {
		c.Record(handshake.Server, handshake.ContentChangeCipherSpec, []byte{1})
		may := sent(c)
		c.Record(handshake.Server, handshake.ContentHandshake, flight)
		c.Handshake(hello)
		return may
	})
	add("with application data in it", CertificateMismatch, func(c *forge.Conn) int {
		c.Handshake(hello)
		c.Send(handshake.Server, []byte("data before"))
		may := sent(c)
		c.Record(handshake.Server, handshake.ContentHandshake, flight[:100])
		c.Send(handshake.Server, []byte("data within"))
		c.Record(handshake.Server, handshake.ContentHandshake, flight[100:])
		return may
	})
	return all
}

func TestEnforced(t *testing.T) {
	for name, a := range attacks() {
		t.Run("first/"+name, func(t *testing.T) { a.fails(t, false) })
	}
	for name, a := range insideAttacks() {
		t.Run("inside/"+name, func(t *testing.T) { a.fails(t, false) })
		t.Run("inside, slow key/"+name, func(t *testing.T) { a.fails(t, true) })
	}
}

var cuts = map[string]func(int) int{
	"whole": whole,
	"1":     func(int) int { return 1 },
	"3":     func(n int) int { return min(n, 3) },
	"700":   func(n int) int { return min(n, 700) },
}

func (a attack) fails(t *testing.T, slow bool) {
	for name, cut := range cuts {
		keys := &slowKeys{}
		b := newBox(t, func(c *Config) {
			c.Policy[NotTLS], c.PrologueLimit = ActionReset, DefaultPrologueLimit
			if slow {
				keys.local = rsakex.NewLocal(c.Ring)
				c.Keys = keys
			}
		})
		b.play(a.conn.Segments, cut)
		if n := b.sent[handshake.Server].Len(); n > a.may {
			t.Fatalf("cut %s: %d bytes of the server's reached the client, want at most %d", name, n, a.may)
		}
		b.resume(keys)
		if n := b.sent[handshake.Server].Len(); n > a.may {
			t.Fatalf("cut %s: %d bytes of the server's reached the client late, want at most %d", name, n, a.may)
		}
		if f := b.Flow(); f.Cause != a.cause || (b.Verdict() == Refuse) != (a.cause != CauseNone) {
			t.Fatalf("cut %s: %v, cause %v (%s), want %v", name, b.Verdict(), f.Cause, f.Detail, a.cause)
		}
		monotonic(t, b.verdicts)
	}
}

// A Finished is not held, but what stands in its record with it is.
func TestFlightWithinFinished(t *testing.T) {
	for _, suite := range []uint16{rsaAES128GCM, rsaAES128SHA, rsaAES128SHA256, rsaRC4SHA} {
		o := options(handshake.TLS12, suite)
		o.WithFinished = append([]byte{0, 0, 0, 0}, flightOf(wrong(o))...)
		c := forge.New(o)
		o.WithFinished, o.Cut = nil, "ClientHello"
		c.Handshake(o)
		// All but the record that has the Finished in it.
		may := bytes.LastIndex(c.Bytes(handshake.Server), []byte{20, 3, 3, 0, 1, 1}) + 6
		attack{c, may, Malformed}.fails(t, false)
	}
}

// TLS 1.2 after a HelloRetryRequest is not judged by what was said of TLS 1.3.
func TestDowngradeAfterRetry(t *testing.T) {
	o := wrong(options(handshake.TLS12, rsaAES128GCM))
	o.Cut = "ClientHello"
	c := forge.New(o)
	retry := []byte("\x03\x03\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91" +
		"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c\x00\x13\x01\x00\x00\x06\x00\x2b\x00\x02\x03\x04")
	c.Record(handshake.Server, handshake.ContentHandshake, append([]byte{2, 0, 0, byte(len(retry))}, retry...))
	may := len(c.Bytes(handshake.Server))
	c.Handshake(o)
	c.Record(handshake.Server, handshake.ContentHandshake, flightOf(wrong(o)))
	b := newBox(t, func(c *Config) { c.KeyLog = keylog.NewSecrets(0); c.Policy[TLS13] = ActionForward })
	b.play(c.Segments, whole)
	if n := b.sent[handshake.Server].Len(); n > may {
		t.Fatalf("%d bytes of the server's reached the client, want %d", n, may)
	}
	wantCause(t, b.finish(), Malformed)
}
