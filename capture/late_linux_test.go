// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/session"
)

// TestLateSessions: who asks within a tick waits for the rest of it, and a whole one more.
func TestLateSessions(t *testing.T) {
	var l lateSessions
	l.tick()
	first := l.await()
	if l.await() != first {
		t.Error("two of one tick wait for different things")
	}
	l.tick()
	second := l.await()
	if second == first || first.Ready() {
		t.Errorf("within a tick: the same is waited for: %v; it has settled: %v", second == first, first.Ready())
	}
	l.tick()
	if !first.Ready() || second.Ready() {
		t.Errorf("after a whole tick: settled %v, and the next: %v", first.Ready(), second.Ready())
	}
	l.tick()
	if !second.Ready() {
		t.Error("the second has not settled")
	}
}

// TestSniffOutOfOrder: a session is resumed in one socket's packets, and begun in another's, which are read later.
func TestSniffOutOfOrder(t *testing.T) {
	o := forgeOptions(suiteGCM)
	o.SessionID = bytes.Repeat([]byte{7}, 32)
	full := talk(o, 1000)
	o.Resume = full.State(false)
	resumed := talk(o, 1000)
	for _, known := range []bool{true, false} {
		story := newStory(t)
		story.late = true
		s := &Sniffer{
			o:       SniffOptions{Session: config(t, story), Bounds: Bounds{}.withDefaults()},
			readers: make([]*ringReader, 2),
		}
		give := func(client string, c *forge.Conn) {
			sh := s.newShard()
			for _, p := range newWire(client, "10.0.0.2:443").play(c).out {
				sh.packet(p.segment(), p.time.UnixNano())
			}
		}
		give("10.0.0.1:40001", resumed)
		if known {
			give("10.0.0.1:40000", full)
		}
		s.late.tick()
		s.late.tick()
		f := story.flow(1)
		if want := map[bool]session.Cause{true: session.CauseNone, false: session.SessionUnknown}[known]; f.Cause != want || f.End.IsZero() {
			t.Errorf("the session is read: %v; the cause is %v, want %v; ended at %v", known, f.Cause, want, f.End)
		}
		if known && (f.Resumed != session.ResumedID || len(story.said(1, handshake.Server)) != 1000) {
			t.Errorf("resumed %v, %d bytes", f.Resumed, len(story.said(1, handshake.Server)))
		}
	}
}
