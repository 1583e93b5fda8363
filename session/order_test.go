// SPDX-License-Identifier: Apache-2.0

package session

import (
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// message is one handshake message.
func message(t handshake.MessageType, body ...byte) []byte {
	return append([]byte{byte(t), byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// Messages out of place, repeated or left out end the reading, and no flight gets through by them.
func TestMessageOrder(t *testing.T) {
	hello := options(handshake.TLS12, rsaAES128GCM)
	hello.Cut = "ClientHello"
	flight := flightOf(options(handshake.TLS12, rsaAES128GCM))
	serverHello := flight[:4+int(flight[3])]
	certificate := flight[len(serverHello) : len(flight)-4]
	done := flight[len(flight)-4:]
	export := options(handshake.TLS10, 0x0003)
	export.Cut = "ServerHello"
	client, server := handshake.Client, handshake.Server
	changeCipherSpec := func(c *forge.Conn, side handshake.Side) {
		c.Record(side, handshake.ContentChangeCipherSpec, []byte{1})
	}
	for name, test := range map[string]struct {
		cause Cause
		build func(c *forge.Conn)
	}{
		"two ServerHellos": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, append(serverHello[:len(serverHello):len(serverHello)], serverHello...))
		}},
		"two Certificates": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, flight[:len(flight)-4])
			c.Record(server, handshake.ContentHandshake, certificate)
		}},
		"a temporary key": {KeyExchangeNotRSA, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, flight[:len(flight)-4])
			c.Record(server, handshake.ContentHandshake, message(handshake.TypeServerKeyExchange, 0, 1, 3))
		}},
		"no Certificate": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, append(serverHello[:len(serverHello):len(serverHello)], done...))
		}},
		"an empty chain": {CertificateMismatch, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, serverHello)
			c.Record(server, handshake.ContentHandshake, message(handshake.TypeCertificate, 0, 0, 0))
		}},
		"a broken chain": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, serverHello)
			c.Record(server, handshake.ContentHandshake, message(handshake.TypeCertificate, 0, 0, 9))
		}},
		"no ServerHello": {Malformed, func(c *forge.Conn) {
			c.Record(client, handshake.ContentHandshake, message(handshake.TypeClientKeyExchange, 0, 0))
		}},
		"an early ClientKeyExchange": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, serverHello)
			c.Record(client, handshake.ContentHandshake, message(handshake.TypeClientKeyExchange, 0, 0))
		}},
		"two ClientKeyExchanges": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, flight)
			for range 2 {
				c.Record(client, handshake.ContentHandshake, message(handshake.TypeClientKeyExchange, append([]byte{0, 128}, make([]byte, 128)...)...))
			}
		}},
		"a broken ClientKeyExchange": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, flight)
			c.Record(client, handshake.ContentHandshake, message(handshake.TypeClientKeyExchange, 9, 9, 9))
		}},
		"no ClientKeyExchange": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, flight)
			changeCipherSpec(c, client)
		}},
		"a broken client Certificate": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, flight)
			c.Record(client, handshake.ContentHandshake, message(handshake.TypeCertificate, 7))
		}},
		"a broken CertificateVerify": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, flight)
			c.Record(client, handshake.ContentHandshake, message(handshake.TypeCertificateVerify, 7))
		}},
		"a broken ticket": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, flight)
			c.Record(server, handshake.ContentHandshake, message(handshake.TypeNewSessionTicket, 7))
		}},
		"an unprotected Finished": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, flight)
			c.Record(server, handshake.ContentHandshake, message(handshake.TypeFinished, 7))
		}},
		"a broken ServerHello": {Malformed, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, message(handshake.TypeServerHello, 3, 3))
		}},
		"a second, broken ClientHello": {Malformed, func(c *forge.Conn) {
			c.Record(client, handshake.ContentHandshake, message(handshake.TypeClientHello, 3, 3))
		}},
		"many large messages": {HandshakeTooLarge, func(c *forge.Conn) {
			c.Record(server, handshake.ContentHandshake, serverHello)
			for range 5 {
				body := make([]byte, 60000)
				for m := message(handshake.TypeSupplementalData, body...); len(m) > 0; m = m[min(len(m), 16384):] {
					c.Record(server, handshake.ContentHandshake, m[:min(len(m), 16384)])
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := forge.New(hello)
			test.build(c)
			for _, cut := range cuts {
				b := newBox(t, nil)
				if b.play(c.Segments, cut) {
					t.Fatalf("relayed: %+v", b.Flow())
				}
				wantCause(t, b.finish(), test.cause)
			}
		})
	}
	t.Run("export", func(t *testing.T) {
		c := forge.New(export)
		c.Record(server, handshake.ContentHandshake, certificate)
		c.Record(server, handshake.ContentHandshake, message(handshake.TypeServerKeyExchange, 0, 1, 3))
		b := newBox(t, nil)
		if b.play(c.Segments, whole) || b.sent[server].Len() > 0 {
			t.Fatalf("%d bytes relayed", b.sent[server].Len())
		}
		wantCause(t, b.finish(), KeyExchangeNotRSA)
	})
}

// Inside the connection, too.
func TestMessageOrderInside(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	client, server := handshake.Client, handshake.Server
	for name, build := range map[string]func(c *forge.Conn){
		"ChangeCipherSpec": func(c *forge.Conn) { c.Record(client, handshake.ContentChangeCipherSpec, []byte{1}) },
		"Finished":         func(c *forge.Conn) { c.Record(client, handshake.ContentHandshake, message(handshake.TypeFinished, 1)) },
		"record type":      func(c *forge.Conn) { c.Record(server, 25, nil) },
		"bad alert":        func(c *forge.Conn) { c.Record(server, handshake.ContentAlert, []byte{1}) },
		"data before the Finished": func(c *forge.Conn) {
			c.Segments = c.Segments[:3] // up to the client's first flight
			b := c.Segments[2].Data
			c.Segments[2].Data = b[:len(b)-5-40] // without its Finished
			rec, err := c.Opener(client).Sealer().Seal(nil, handshake.ContentApplicationData, []byte("data"))
			if err != nil {
				panic(err)
			}
			c.Raw(client, rec)
		},
	} {
		c := forge.New(o)
		build(c)
		for _, cut := range cuts {
			b := newBox(t, nil)
			if b.play(c.Segments, cut) {
				t.Fatalf("%s: relayed: %+v", name, b.Flow())
			}
			wantCause(t, b.finish(), Malformed)
			if b.plain[0].Len() > 0 {
				t.Errorf("%s: shows %q", name, b.plain[0].String())
			}
		}
	}
}
