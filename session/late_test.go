// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/rsakex"
)

// TestLateSession holds that a session which is read after it was resumed is found, whatever comes first then: the time to look again, the
// end of the flow, or too much to wait any longer. A session that never comes is unknown.
func TestLateSession(t *testing.T) {
	id, ticket := bytes.Repeat([]byte{7}, 32), []byte("a ticket that only its server understands")
	for _, names := range []struct{ id, ticket, renewed []byte }{
		{id, nil, nil}, {nil, ticket, nil}, {nil, ticket, []byte("another")},
	} {
		o := options(handshake.TLS12, rsaAES128GCM)
		o.SessionID, o.Ticket = names.id, names.ticket
		full := forge.New(o)
		exchange(full)
		o.Resume, o.Ticket = full.State(names.ticket != nil), names.renewed
		again := forge.New(o)
		request, _ := exchange(again)
		for _, known := range []bool{true, false} {
			for _, first := range []string{"time", "end", "too much"} {
				for _, cut := range []func(int) int{whole, func(int) int { return 1 }} {
					t.Run(fmt.Sprintf("ticket=%q,renewed=%q,known=%v,first=%s", names.ticket, names.renewed, known, first), func(t *testing.T) {
						resumeEarly(t, full, again, request, names.renewed, known, first, cut)
					})
				}
			}
		}
	}
}

// resumeEarly plays a resumed connection, and in the middle of it, if it is to be known, the full one that began its session.
func resumeEarly(t *testing.T, full, again *forge.Conn, request, renewed []byte, known bool, first string, cut func(int) int) {
	late, settle := rsakex.NewSecret()
	asked := 0
	g := newRig(t, func(c *Config) {
		c.LateSessions = func() *rsakex.Secret { asked++; return late }
		if first == "too much" {
			c.MaxBacklog = 1000
		}
	})
	begun := 0 // segments until it waits
	for ; begun < len(again.Segments) && g.Waiting() == nil; begun++ {
		g.feed(again.Segments[begun], cut)
	}
	if g.Waiting() != late || asked != 1 || g.Flow().Cause != CauseNone {
		t.Fatalf("waits %v, asked %d times, cause %v", g.Waiting() != nil, asked, g.Flow().Cause)
	}
	if known {
		before := g.next()
		before.play(full.Segments)
		wantRead(t, before.finish())
	}
	if first == "time" {
		settle(nil, nil)
		g.Resume(testStart)
	}
	for _, s := range again.Segments[begun:] {
		g.feed(s, cut)
	}
	if waits := g.Waiting() != nil; waits != (first == "end") {
		t.Errorf("waits: %v", waits)
	}
	f := g.finish()
	if !known {
		wantCause(t, f, SessionUnknown)
		return
	}
	wantRead(t, f)
	g.wantPlain(t, handshake.Client, request)
	if _, ok := g.cfg.Store.Get(rsakex.ByTicket, renewed); asked != 1 || ok != (renewed != nil) {
		t.Errorf("asked %d times; the new ticket is known: %v", asked, ok)
	}
}
