// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// flow is a pair of legs, relayed by two goroutines: one a direction. Each alone reads the leg that
// its side is on and alone writes the other, so bytes never change their order; what the engine says
// passes between them under mu, and a direction that waits is poked when it has something to do.
type flow struct {
	srv   *Server
	shard *shard
	info  session.Flow // until there is an engine
	legs  [2]leg       // by side
	dirs  [2]direction // by the side that sends
	last  atomic.Int64 // when bytes last came, in nanoseconds since the flow's start

	mu      sync.Mutex
	engine  guard
	noted   *rsakex.Secret // the engine waits for it
	armed   *rsakex.Secret // its Then leads here
	timer   *time.Timer    // nil until a bound on time applies
	limit   time.Time      // for the handshake in progress; zero: none
	through int            // directions whose end was passed on
	left    int            // goroutines that are done
	closed  bool
	ended   bool
	hurry   bool // the server stops: wait for no secret
	reason  Reason
	err     error
}

func newFlow(s *Server, sh *shard, client Conn, info session.Flow) *flow {
	f := &flow{srv: s, shard: sh, info: info}
	f.legs[handshake.Client].conn = client
	for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
		f.dirs[side] = direction{
			flow: f, side: side, src: &f.legs[side], dst: &f.legs[side.Opposite()],
		}
	}
	return f
}

// run opens the server's leg and relays. It is the goroutine of the client's direction.
func (f *flow) run() {
	if !f.open() {
		return
	}
	go f.dirs[handshake.Server].run()
	f.dirs[handshake.Client].run()
}

// open dials, and makes the engine once both legs are there. If that fails the client is reset.
func (f *flow) open() bool {
	client := f.legs[handshake.Client].conn
	server, err := f.dial()
	if err == nil {
		err = errors.Join(f.legs[handshake.Client].init(client), f.legs[handshake.Server].init(server))
		if err != nil {
			reset(server)
		}
	}
	if err != nil {
		reset(client)
		f.srv.cfg.Observer.DialFailed(f.info.Client, f.info.Server, err)
		f.leave(EndedDialFailed)
		return false
	}
	if remote := addrPort(server.RemoteAddr()); remote.IsValid() {
		f.info.Server = remote // a fixed upstream is not what the client dialled
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.engine = guard{engine: f.srv.cfg.NewEngine(f.info), panicked: f.panicked, fallback: f.srv.cfg.OnPanic}
	if idle := f.srv.cfg.IdleTimeout; idle > 0 {
		f.arm(idle)
	}
	return true
}

func (f *flow) dial() (Conn, error) {
	ctx, cancel := context.WithTimeout(f.srv.hard, f.srv.cfg.DialTimeout)
	defer cancel()
	begun := time.Now()
	c, err := f.srv.cfg.Dial(ctx, f.info.Client, f.info.Server)
	if err != nil {
		return nil, err
	}
	f.srv.cfg.Observer.Dialled(time.Since(begun))
	return c, nil
}

func (f *flow) panicked(info *session.Flow, value any, stack []byte) {
	f.shard.panics.Add(1)
	f.srv.cfg.Observer.Panicked(info, value, stack)
}

// look follows the engine after it was called: whoever waits for what it now says is poked, and a
// bound on time begins or ends. It returns the verdict. Called with mu held.
func (f *flow) look(now time.Time) session.Verdict {
	verdict := f.engine.verdict(now)
	for i := range f.dirs {
		d := &f.dirs[i]
		switch {
		case d.told == session.Refuse || d.poked:
		case verdict == session.Refuse:
			d.poke()
			// Nothing may keep the alert waiting for ever: neither peer's slowness.
			_ = d.dst.conn.SetWriteDeadline(now.Add(f.srv.cfg.RefuseTimeout))
		case len(d.held) > 0 && f.engine.held(d.side, now, len(d.held)) < len(d.held),
			d.stalled && f.engine.backlog(now) <= f.srv.cfg.MaxBacklog:
			d.poke()
		}
	}
	if done := f.engine.handshakeDone(now); done != f.limit.IsZero() {
		f.limit = time.Time{}
		if !done {
			f.limit = now.Add(f.srv.cfg.HandshakeTimeout)
			f.arm(f.srv.cfg.HandshakeTimeout)
		}
	}
	return verdict
}

// await has resume called when the secret that the engine waits for is ready. One that is new is only
// noted, unless it is due: it is asked for when the next thing has happened on the flow, which is the
// server's answer, and has been relayed. Until then the private key would only compete for the
// processor with what the peers wait for. Called without mu: a secret that is ready calls at once.
func (f *flow) await(due bool) {
	f.mu.Lock()
	secret := f.engine.waiting(f.now())
	ask := secret != nil && secret != f.armed && (due || secret == f.noted)
	f.noted = secret
	if ask {
		f.armed = secret
	}
	f.mu.Unlock()
	if ask {
		// Not on the goroutine that settles it: that works for all flows, and may be made to wait for
		// more urgent threads, which would wait for this flow's lock then.
		secret.Then(func() { go f.resume() })
	}
}

func (f *flow) resume() {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	now := f.now()
	f.engine.resume(now)
	f.look(now)
	again := f.engine.waiting(now) != nil
	conclude := !again && f.left == len(f.dirs)
	f.mu.Unlock()
	switch {
	case again:
		f.await(true)
	case conclude:
		f.conclude()
	}
}

func (f *flow) now() time.Time { return time.Now() }

// arm has tick called after d, or sooner. Called with mu held.
func (f *flow) arm(d time.Duration) {
	if f.timer == nil {
		f.timer = time.AfterFunc(d, f.tick)
		return
	}
	f.timer.Reset(d)
}

// tick enforces the bounds on time, and waits on for those that are not reached.
func (f *flow) tick() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	now := f.now()
	idle := f.idleFor(now)
	switch limit := f.srv.cfg.IdleTimeout; {
	case limit > 0 && idle >= limit:
		f.mu.Unlock()
		f.abort(EndedIdle, nil)
		return
	case !f.limit.IsZero() && !now.Before(f.limit):
		f.engine.fail(session.HandshakeTimeout, "the handshake took too long", now)
		f.limit = time.Time{}
		f.look(now)
	}
	if next := f.nextTick(now, idle); next > 0 {
		f.arm(next)
	}
	f.mu.Unlock()
}

func (f *flow) nextTick(now time.Time, idle time.Duration) time.Duration {
	var next time.Duration
	if limit := f.srv.cfg.IdleTimeout; limit > 0 {
		next = limit - idle
	}
	if !f.limit.IsZero() {
		if left := max(f.limit.Sub(now), time.Millisecond); next == 0 || left < next {
			next = left
		}
	}
	return next
}

func (f *flow) idleFor(now time.Time) time.Duration {
	return now.Sub(f.info.Start) - time.Duration(f.last.Load())
}

// relayed counts bytes that one side sent.
func (f *flow) relayed(side handshake.Side, n int, now time.Time) {
	f.last.Store(int64(now.Sub(f.info.Start)))
	f.shard.bytes[side].Add(uint64(n))
}

// broke ends the flow because a leg failed: the other is reset, too.
func (f *flow) broke(side handshake.Side, err error) {
	reason := EndedByClient
	switch {
	case !peerBroke(err):
		reason = EndedByTheKernel
	case side == handshake.Server:
		reason = EndedByServer
	}
	f.mu.Lock()
	now := f.now()
	switch {
	case f.closed:
	case f.engine.verdict(now) == session.Refuse:
		reason = EndedRefused // a peer would not take what was left for it
	default:
		f.engine.reset(side, now)
	}
	f.mu.Unlock()
	f.abort(reason, err)
}

// abort resets both legs, unless the flow is closed already.
func (f *flow) abort(why Reason, err error) {
	if f.close(why, err) {
		reset(f.legs[handshake.Client].conn)
		reset(f.legs[handshake.Server].conn)
	}
}

// close marks the flow closed and reports whether the caller is the one to close the legs.
func (f *flow) close(why Reason, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.engine.engine == nil {
		return false
	}
	f.closed, f.reason, f.err = true, why, err
	if f.timer != nil {
		f.timer.Stop()
	}
	for i := range f.dirs {
		if d := &f.dirs[i]; d.parked {
			d.resume() // to find the legs closed
		}
	}
	return true
}

// shutdown resets the flow because the server stops. While it dials, the context ends it.
func (f *flow) shutdown() {
	f.abort(EndedByShutdown, nil)
	f.mu.Lock()
	f.hurry = true
	waits := f.left == len(f.dirs)
	f.mu.Unlock()
	if waits {
		f.conclude() // the secret may never come
	}
}

// passed counts a direction as through. After both, the legs are closed in order.
func (f *flow) passed(why Reason) {
	f.mu.Lock()
	f.through++
	all := f.through == len(f.dirs)
	f.mu.Unlock()
	if all && f.close(why, nil) {
		_ = f.legs[handshake.Client].conn.Close()
		_ = f.legs[handshake.Server].conn.Close()
	}
}

// done is called by each direction's goroutine at its end.
func (f *flow) done() {
	f.mu.Lock()
	f.left++
	all := f.left == len(f.dirs)
	waiting := all && !f.hurry && f.engine.waiting(f.now()) != nil
	f.mu.Unlock()
	switch {
	case all && waiting:
		f.await(true) // the flow is read to its end before it is ended, without its legs
	case all:
		f.conclude()
	}
}

// conclude ends the engine, tells of it, and lets go of the flow.
func (f *flow) conclude() {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	f.ended = true
	now := f.now()
	for i := range f.dirs {
		d := &f.dirs[i]
		// What was spliced the engine did not see.
		f.engine.flow().Bytes[d.side] += d.spliced
		d.held = nil
	}
	info := f.engine.end(now)
	refused := f.reason == EndedRefused
	f.srv.cfg.Observer.Ended(info, f.reason, f.err)
	cause := info.Cause
	f.mu.Unlock()
	if refused {
		f.shard.countRefused(cause)
	}
	f.leave(f.reason)
}

func (f *flow) leave(why Reason) {
	f.shard.ended[why].Add(1)
	f.shard.remove(f)
	f.srv.active.Add(-1)
	f.srv.flows.Done()
}
