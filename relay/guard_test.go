// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"io"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

func TestPanics(t *testing.T) {
	boom := func(e *fake, side handshake.Side, b []byte) {
		if string(b) == "boom" {
			panic("boom")
		}
	}
	for _, tc := range []struct {
		name     string
		onPanic  session.Action
		onFail   func(e *fake, c session.Cause)
		forwards bool
		panics   uint64
	}{
		{"policy reset", 0, func(e *fake, c session.Cause) { e.resetBoth(c) }, false, 1},
		{"policy forward", 0, func(e *fake, c session.Cause) { e.verdict = session.Bypass }, true, 1},
		{"panics at failing", 0, func(*fake, session.Cause) { panic("again") }, false, 2},
		{"panics at failing, forward", session.ActionForward, func(*fake, session.Cause) { panic("again") }, true, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, Config{OnPanic: tc.onPanic}, func(e *fake) { e.onFeed, e.onFail = boom, tc.onFail })
			c, s := r.pair()
			send(t, c, "before")
			expect(t, s, "before")
			c2, s2 := r.pair()
			send(t, c, "boom")
			if tc.forwards {
				expect(t, s, "boom")
				send(t, s, "after")
				expect(t, c, "after")
				_, _ = c.Close(), s.Close()
			} else {
				expectReset(t, c)
				_, _ = io.ReadAll(s) // what was released before the refusal may still arrive
			}
			e := r.end()
			if e.flow.Cause != session.Malformed {
				t.Errorf("cause %v", e.flow.Cause)
			}
			if want := [2]uint64{uint64(len("beforeboom")), uint64(len("after"))}; tc.forwards && e.flow.Bytes != want {
				t.Errorf("%d bytes were counted, want %d", e.flow.Bytes, want)
			}
			send(t, c2, "others go on")
			expect(t, s2, "others go on")
			if got := r.relay.Stats().Panics; got != tc.panics {
				t.Errorf("%d panics were counted, want %d", got, tc.panics)
			}
		})
	}
}

func TestPanicAtTheEnd(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onEnd = func(e *fake) { close(e.ended); panic("at the end") }
	})
	c, s := r.pair()
	_, _ = c.Close(), s.Close()
	r.end()
	r.wantEnded(EndedInOrder)
}
