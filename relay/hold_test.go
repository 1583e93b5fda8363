// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

func TestHeldUntilReleasedByTheOtherSide(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			switch {
			case side == server && e.verdict == session.Undecided:
				e.held[server] += len(b)
			case side == client && string(b) == "release":
				e.held[server], e.verdict = 0, session.Relay
			}
		}
	})
	c, s := r.pair()
	send(t, s, "first ")
	send(t, c, "ping")
	expect(t, s, "ping")
	send(t, s, "second ")
	if !eventually(func() bool { return r.relay.Stats().Bytes[server] == 13 }) {
		t.Fatal("the relay did not read what it holds")
	}
	expectNothing(t, c)
	send(t, c, "release")
	expect(t, c, "first second ")
	expect(t, s, "release")
	send(t, s, "third")
	expect(t, c, "third")
}

func TestHeldInTheMiddleOfARead(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.ahead = func(e *fake, side handshake.Side, b []byte) int {
			if i := bytes.IndexByte(b, '['); side == server && i >= 0 {
				return i
			}
			return len(b)
		}
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if i := bytes.IndexByte(e.fed[server], '['); i >= 0 {
				e.held[server] = len(e.fed[server]) - i
			}
			if bytes.IndexByte(e.fed[server], ']') >= 0 {
				e.held[server] = 0
			}
		}
	})
	c, s := r.pair()
	send(t, s, "free[held")
	expect(t, c, "free")
	expectNothing(t, c)
	send(t, s, " still]gone")
	expect(t, c, "[held still]gone")
}

func TestHeldTooMuch(t *testing.T) {
	r := newRig(t, Config{MaxHeld: 1000}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) { e.held[side] += len(b) }
		e.onFail = func(e *fake, c session.Cause) { e.resetBoth(c) }
	})
	c, s := r.pair()
	send(t, s, strings.Repeat("x", 1001))
	expectReset(t, c)
	expectReset(t, s)
	r.wantEnded(EndedRefused)
	if r.relay.Stats().Refused[session.HandshakeTooLarge] != 1 {
		t.Errorf("refused %v", r.relay.Stats().Refused)
	}
}

func TestServerClosesWithinWhatIsHeld(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) { e.held[side] += len(b) }
		e.onFail = func(e *fake, c session.Cause) { e.verdict = session.Bypass }
	})
	c, s := r.pair()
	send(t, s, "half a flight")
	_ = s.CloseWrite()
	expect(t, c, "half a flight")
	expectEOF(t, c)
	send(t, c, "answer")
	_ = c.CloseWrite()
	if e := r.engine(); e == nil {
		t.Fatal("no engine")
	}
	expect(t, s, "answer")
	expectEOF(t, s)
	if e := r.end(); e.flow.Cause != session.Malformed {
		t.Errorf("cause %v", e.flow.Cause)
	}
}
