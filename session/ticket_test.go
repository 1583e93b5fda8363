// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/rsakex"
)

// TestTicketIsKnownBeforeItIsRelayed holds that a client that comes back the moment it has a ticket
// finds its session known: no whole ticket goes ahead of its being read.
func TestTicketIsKnownBeforeItIsRelayed(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	o.Ticket = []byte("a ticket of some length")
	c := forge.New(o)
	end := bytes.Index(c.Bytes(handshake.Server), o.Ticket) + len(o.Ticket)
	for size := 1; size < 200; size++ {
		b := newBox(t, nil)
		for _, s := range c.Segments {
			for data := s.Data; len(data) > 0; {
				n := min(len(data), size)
				_, known := b.cfg.Store.Get(rsakex.ByTicket, o.Ticket)
				if ahead := b.Ahead(s.Side, data[:n]); s.Side == handshake.Server && !known && b.sent[s.Side].Len()+ahead >= end {
					t.Fatalf("in pieces of %d bytes, the ticket goes ahead", size)
				}
				b.relay(s.Side, data[:n])
				data = data[n:]
			}
		}
		if b.sent[handshake.Server].Len() < end {
			t.Fatal("the ticket was not relayed")
		}
	}
}

// TestPromiseKnowsTheClient holds that a session that is resumed before the private key has answered
// is its client's already.
func TestPromiseKnowsTheClient(t *testing.T) {
	id := bytes.Repeat([]byte{7}, 32)
	for _, ticket := range [][]byte{nil, []byte("a ticket")} {
		o := withClient(options(handshake.TLS12, rsaAES128GCM))
		o.SessionID, o.Ticket = id, ticket
		keys := &slowKeys{}
		b := newBox(t, func(c *Config) { keys.local = rsakex.NewLocal(c.Ring); c.Keys = keys })
		b.play(forge.New(o).Segments, whole)
		if b.Waiting() == nil {
			t.Fatal("the private key has answered")
		}
		if got, ok := b.cfg.Store.Get(rsakex.ByID, id); !ok || !got.ClientProven {
			t.Errorf("ticket %q: by its ID the session is known: %t, and its client is not proven", ticket, ok)
		}
		if got, ok := b.cfg.Store.Get(rsakex.ByTicket, ticket); ticket != nil && (!ok || !got.ClientProven) {
			t.Errorf("by its ticket the session is known: %t, and its client is not proven", ok)
		}
	}
}

// TestProofIsPromised holds that a session of SSL 3.0, whose client's proof has the secret in it, is its client's in every
// connection that resumes it, whichever gets the secret first.
func TestProofIsPromised(t *testing.T) {
	for _, genuine := range []bool{true, false} {
		o := withClient(options(handshake.SSL30, rsaRC4SHA))
		o.SessionID = bytes.Repeat([]byte{7}, 32)
		if !genuine {
			o.ClientKey = hosts().otherKey
		}
		keys := &slowKeys{}
		b := newBox(t, func(c *Config) { keys.local = rsakex.NewLocal(c.Ring); c.Keys = keys })
		full := forge.New(o)
		b.play(full.Segments, whole)
		again := forge.New(resuming(full))
		resumed := [2]*box{{t: t, rig: b.next()}, {t: t, rig: b.next()}}
		for _, r := range resumed {
			if r.play(again.Segments, whole); r.Waiting() == nil {
				t.Fatal("the private key has answered")
			}
		}
		keys.answer()
		for _, it := range []*box{resumed[0], b, resumed[1]} {
			it.Resume(testStart)
			if f := it.finish(); f.Outcome != OutcomeRead || len(f.ClientChain) != 1 || f.ClientProven != genuine {
				t.Errorf("%v, resumed by %v: %d certificates of the client, proven %v, want %v", f.Outcome, f.Resumed, len(f.ClientChain), f.ClientProven, genuine)
			}
		}
		if got, ok := b.cfg.Store.Get(rsakex.ByID, o.SessionID); !ok || got.ClientProven != genuine || got.ClientProof != nil {
			t.Errorf("in the end the session's client is proven: %v, want %v", ok && got.ClientProven, genuine)
		}
	}
}
