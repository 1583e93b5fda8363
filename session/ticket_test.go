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
