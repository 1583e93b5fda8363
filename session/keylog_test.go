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

// encryptedPremaster is what a client's ClientKeyExchange of an RSA suite carries.
func encryptedPremaster(t *testing.T, c *forge.Conn) []byte {
	t.Helper()
	b := c.Bytes(handshake.Client)
	size := hosts().serverKey.Size()
	at := bytes.Index(b, []byte{16, 0, 0, byte(size + 2), 0, byte(size)})
	if at < 0 {
		t.Fatal("no ClientKeyExchange")
	}
	return b[at+6 : at+6+size]
}

// Each label that can open a flow up to TLS 1.2 does, with no private key, before or after the fact.
func TestKeyLogLabels(t *testing.T) {
	premaster := append([]byte{3, 3}, bytes.Repeat([]byte{5}, 46)...)
	for _, ems := range []bool{false, true} {
		o := withClient(options(handshake.TLS12, rsaAES128GCM))
		o.EMS, o.Premaster, o.SessionID = ems, premaster, bytes.Repeat([]byte{6}, 32)
		full := forge.New(o)
		request, _ := exchange(full)
		o.Resume = full.State(false)
		again := forge.New(o)
		exchange(again)
		for name, test := range map[string]struct {
			conn *forge.Conn
			line keylog.Line
		}{
			"RSA":               {full, keylog.Line{Label: keylog.RSA, ID: encryptedPremaster(t, full)[:8], Secret: premaster}},
			"PMS_CLIENT_RANDOM": {full, keylog.Line{Label: keylog.PMSClientRandom, ID: full.Random[:], Secret: premaster}},
			"CLIENT_RANDOM":     {full, keylog.Line{Label: keylog.ClientRandom, ID: full.Random[:], Secret: full.Master}},
			"Session-ID":        {full, keylog.Line{Label: keylog.RSASessionID, ID: o.SessionID, Secret: full.Master}},
			"resumed":           {again, keylog.Line{Label: keylog.RSASessionID, ID: o.SessionID, Secret: full.Master}},
		} {
			for _, ring := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/ems=%v,ring=%v", name, ems, ring), func(t *testing.T) {
					log := keylog.NewSecrets(0)
					g := newRig(t, func(c *Config) {
						c.KeyLog, c.KeyLogGrows = log, true
						if !ring {
							c.Ring, c.Keys = nil, nil
						}
					})
					segments := test.conn.Segments
					if ring {
						log.Add(test.line)
					}
					g.play(segments[:len(segments)-1])
					log.Add(test.line)
					g.play(segments[len(segments)-1:])
					wantRead(t, g.finish())
					g.wantPlain(t, handshake.Client, request)
				})
			}
		}
	}
}

// A session that a key log opened can be resumed.
func TestResumedFromKeyLog(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	o.Ticket = []byte("a ticket")
	full := forge.New(o)
	log := keylog.NewSecrets(0)
	log.Add(keylog.Line{Label: keylog.ClientRandom, ID: full.Random[:], Secret: full.Master})
	g := newRig(t, func(c *Config) { c.KeyLog, c.Ring, c.Keys = log, nil, nil })
	g.play(full.Segments)
	wantRead(t, g.finish())
	o.Resume, o.Ticket = full.State(true), nil
	again := forge.New(o)
	g = g.next()
	g.play(again.Segments)
	f := g.finish()
	wantRead(t, f)
	if f.Resumed != ResumedTicket {
		t.Errorf("resumed %v", f.Resumed)
	}
}

// A failed handshake takes nobody else's session away, and leaves none.
func TestStoreIsSafe(t *testing.T) {
	id := bytes.Repeat([]byte{8}, 32)
	o := withClient(options(handshake.TLS12, rsaAES128GCM))
	o.SessionID, o.Ticket = id, []byte("the ticket")
	honest := forge.New(o)
	side := handshake.Client
	o.WrongFinished = &side
	hostile := forge.New(o)
	o.WrongFinished, o.BadPadding = nil, true
	padding := forge.New(o)

	g := newRig(t, nil)
	for _, c := range []*forge.Conn{hostile, padding} {
		g = g.next()
		g.play(c.Segments)
		if f := g.finish(); f.Cause != FinishedMismatch && f.Cause != DecryptFailed {
			t.Fatalf("cause %v", f.Cause)
		}
		if n := g.cfg.Store.Len(); n > 0 {
			t.Fatalf("a failed handshake left %d sessions", n)
		}
	}
	g = g.next()
	g.play(honest.Segments)
	wantRead(t, g.finish())
	want, ok := g.cfg.Store.Get(rsakex.ByID, id)
	if !ok || !want.ClientProven || len(want.ClientChain) != 1 {
		t.Fatalf("session %+v", want)
	}
	for _, c := range []*forge.Conn{hostile, padding} {
		for n := range c.Segments {
			g = g.next()
			g.play(c.Segments[:n+1])
			for kind, name := range map[rsakex.Kind][]byte{rsakex.ByID: id, rsakex.ByTicket: []byte("the ticket")} {
				if got, ok := g.cfg.Store.Get(kind, name); !ok || !got.Is(want) {
					t.Fatalf("after %d segments another's session is gone", n+1)
				}
			}
		}
	}
}

// A ticket is known before the private key has opened the handshake that it was given in.
func TestTicketBeforeItsKey(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	o.Ticket = []byte("a ticket")
	full := forge.New(o)
	keys := &slowKeys{}
	b := newBox(t, func(c *Config) { keys.local = rsakex.NewLocal(c.Ring); c.Keys = keys })
	b.play(full.Segments, whole)
	o.Resume, o.Ticket = full.State(true), nil
	again := forge.New(o)
	b2 := &box{t: t, rig: b.next()}
	if !b2.play(again.Segments, whole) {
		t.Fatalf("refused: %+v", b2.Flow())
	}
	keys.answer()
	b2.Resume(testStart)
	wantRead(t, b2.finish())
}
