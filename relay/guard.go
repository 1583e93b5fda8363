// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"runtime/debug"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// guard keeps an engine's panics inside their flow: the flow is failed as malformed and follows its
// policy. An engine that panics at that, too, is not called any more. Used under the flow's lock.
type guard struct {
	engine   Engine
	panicked func(f *session.Flow, value any, stack []byte)
	fallback session.Action
	dead     bool
	failing  bool
}

// catch is deferred around every call of the engine.
func (g *guard) catch(now time.Time) {
	v := recover()
	if v == nil {
		return
	}
	g.panicked(g.flow(), v, debug.Stack())
	if g.failing {
		g.dead = true
		return
	}
	g.failing = true
	g.fail(session.Malformed, "the reader failed at these bytes", now)
}

// flow returns what is known of the flow, also from an engine that is dead.
func (g *guard) flow() (f *session.Flow) {
	defer func() {
		if recover() != nil {
			f = &session.Flow{}
		}
	}()
	return g.engine.Flow()
}

func (g *guard) feed(side handshake.Side, now time.Time, b []byte) {
	if g.dead {
		return
	}
	defer g.catch(now)
	g.engine.Feed(side, now, b)
}

func (g *guard) closeSide(side handshake.Side, now time.Time) {
	if g.dead {
		return
	}
	defer g.catch(now)
	g.engine.CloseSide(side, now)
}

func (g *guard) reset(side handshake.Side, now time.Time) {
	if g.dead {
		return
	}
	defer g.catch(now)
	g.engine.Reset(side, now)
}

func (g *guard) fail(c session.Cause, detail string, now time.Time) {
	if g.dead {
		return
	}
	defer g.catch(now)
	g.engine.Fail(c, detail, now)
}

func (g *guard) resume(now time.Time) {
	if g.dead {
		return
	}
	defer g.catch(now)
	g.engine.Resume(now)
}

func (g *guard) ahead(side handshake.Side, now time.Time, b []byte) (n int) {
	if g.dead {
		return 0
	}
	defer g.catch(now)
	return min(max(0, g.engine.Ahead(side, b)), len(b))
}

// held returns how many of the last n bytes that were not relayed must stay.
func (g *guard) held(side handshake.Side, now time.Time, n int) (h int) {
	if g.verdict(now) == session.Bypass {
		return 0
	}
	h = n // after a panic nothing is released but by the verdict
	if g.dead {
		return h
	}
	defer g.catch(now)
	return min(max(0, g.engine.Held(side)), n)
}

func (g *guard) verdict(now time.Time) (v session.Verdict) {
	v = session.Refuse
	if g.dead {
		if g.fallback == session.ActionForward {
			v = session.Bypass
		}
		return v
	}
	defer g.catch(now)
	return g.engine.Verdict()
}

// refusal returns how to end a refused flow; never nil.
func (g *guard) refusal(now time.Time) (r *session.Refusal) {
	r = &session.Refusal{Cause: session.Malformed, Action: session.ActionReset}
	if g.dead {
		return r
	}
	defer g.catch(now)
	if e := g.engine.Refusal(); e != nil {
		return e
	}
	return r
}

func (g *guard) waiting(now time.Time) (s *rsakex.Secret) {
	if g.dead {
		return nil
	}
	defer g.catch(now)
	return g.engine.Waiting()
}

func (g *guard) backlog(now time.Time) (n int) {
	if g.dead {
		return 0
	}
	defer g.catch(now)
	return g.engine.Backlog()
}

func (g *guard) handshakeDone(now time.Time) (done bool) {
	if g.dead {
		return true
	}
	defer g.catch(now)
	return g.engine.HandshakeDone()
}

// end ends the engine, also a dead one: it may still be able to say so.
func (g *guard) end(now time.Time) (f *session.Flow) {
	f = g.flow()
	g.failing = true
	defer g.catch(now)
	return g.engine.End(now)
}
