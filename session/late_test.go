// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/rsakex"
)

// TestLateSession holds that a session which is read after it was resumed is found, whatever comes first then: the time to look again, the
// end of the flow, or too much to wait any longer. A session that never comes is unknown.
func TestLateSession(t *testing.T) {
	ticket, renewed := []byte("a ticket that only its server understands"), []byte("another")
	for _, resumption := range []struct {
		name     string
		byTicket bool
		renewed  []byte
	}{{"ID", false, nil}, {"ticket", true, nil}, {"ticket, renewed", true, renewed}} {
		for _, known := range []bool{true, false} {
			for _, first := range []string{"time", "end", "too much"} {
				for _, size := range []int{1, 1 << 20} {
					o := options(handshake.TLS12, rsaAES128GCM)
					if resumption.byTicket {
						o.Ticket = ticket
					} else {
						o.SessionID = bytes.Repeat([]byte{7}, 32)
					}
					full := forge.New(o)
					exchange(full)
					o.Resume, o.Ticket = full.State(resumption.byTicket), resumption.renewed
					again := forge.New(o)
					request, _ := exchange(again)

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
						feed(g, again.Segments[begun], size)
					}
					if g.Waiting() != late || asked != 1 || g.Flow().Cause != CauseNone {
						t.Fatalf("%s: waits %v, asked %d times, cause %v", resumption.name, g.Waiting() != nil, asked, g.Flow().Cause)
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
						feed(g, s, size)
					}
					if waits := g.Waiting() != nil; waits != (first == "end") {
						t.Errorf("%s, first %s: waits: %v", resumption.name, first, waits)
					}
					f := g.finish()
					if !known {
						wantCause(t, f, SessionUnknown)
						continue
					}
					wantRead(t, f)
					g.wantPlain(t, handshake.Client, request)
					if _, ok := g.cfg.Store.Get(rsakex.ByTicket, resumption.renewed); asked != 1 || ok != (resumption.renewed != nil) {
						t.Errorf("%s: asked %d times; the new ticket is known: %v", resumption.name, asked, ok)
					}
				}
			}
		}
	}
}

// feed feeds a segment in pieces.
func feed(g *rig, s forge.Segment, size int) {
	for data := s.Data; len(data) > 0; {
		n := min(len(data), size)
		g.Feed(s.Side, testStart, data[:n])
		data = data[n:]
	}
}
