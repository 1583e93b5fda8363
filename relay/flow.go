// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/relay/sock"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

// connection is what is known of a flow before there is an engine.
type connection struct {
	id             uint64
	client, server netip.AddrPort
	start          time.Time
}

// flow is a pair of legs and what is between them. All of it belongs to its loop.
type flow struct {
	loop *loop
	connection
	legs   [2]leg       // by side
	dirs   [2]direction // by the side that sends
	engine guard

	target  netip.AddrPort   // being connected to
	targets []netip.AddrPort // to try after that
	opening time.Time        // when that began
	quiet   bool             // it is done without a word to the server, see showAfter

	verdict session.Verdict
	awaited *rsakex.Secret // what the engine waits for
	asked   *rsakex.Secret // its Then leads here
	last    time.Time      // when bytes last came

	backlog  int  // of the engine's, what is in the server's
	answered bool // the engine's secret is there
	bound    int  // what comes back to the loop: its turn to ask, and answers

	at     time.Time // of the next tick
	timer  int       // place among the timers, from 1 on; 0: none
	limit  time.Time // for dialling, the handshake in progress, or the end of a refused flow; zero: none
	showBy time.Time // when the server is to see the connection at last; zero: it does
	probed bool      // whether the server has vanished is found out
	until  time.Time // a peer has broken the connection, and this is for the other to take what it sent
	queued bool      // among the loop's ready flows
	closed bool
	ended  bool
	reason Reason
	err    error
}

func newFlow(l *loop, client int, c connection) *flow {
	f := &flow{loop: l, connection: c, last: c.start}
	for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
		f.legs[side] = leg{flow: f, side: side, fd: -1}
		f.dirs[side] = direction{flow: f, side: side, src: &f.legs[side], dst: &f.legs[side.Opposite()]}
	}
	f.legs[handshake.Client].fd = client
	return f
}

func (f *flow) cfg() *Config { return &f.loop.srv.cfg }

// known is what the engine is told of the flow.
func (f *flow) known() session.Flow {
	return session.Flow{ID: f.id, Client: f.client, Server: f.server, Start: f.start, Interface: f.cfg().Interface}
}

// open begins to connect the server's leg.
func (f *flow) open() {
	f.opening = time.Now()
	f.limit = f.opening.Add(f.cfg().DialTimeout)
	f.quiet = f.opening.Before(f.loop.amid)
	f.stepped(f.opening)
	f.loop.timers.set(f, f.limit)
	switch {
	case f.loop.hurry:
		f.dialFailed(context.Canceled)
	case f.cfg().Lookup != nil:
		f.lookUp()
	case f.cfg().Upstream.IsValid():
		f.connect(f.cfg().Upstream)
	default:
		f.connect(f.server)
	}
	if !f.closed {
		f.watchClient()
	}
}

// watchClient has the loop told of the client while the server's leg connects: both are there at once then.
func (f *flow) watchClient() {
	if err := f.loop.follow(&f.legs[handshake.Client]); err != nil {
		f.dialFailed(err)
	}
}

// lookUp asks where to connect to, which may take its time.
func (f *flow) lookUp() {
	ctx, cancel := context.WithDeadline(f.loop.srv.hard, f.limit)
	f.loop.srv.lookups.Go(func() {
		defer cancel()
		targets, err := f.cfg().Lookup(ctx)
		f.loop.post(func() {
			if !f.closed {
				f.targets = targets
				f.tryNext(err)
			}
		})
	})
}

func (f *flow) connect(target netip.AddrPort) {
	server := &f.legs[handshake.Server]
	f.target = target
	var options []sock.Option
	if f.quiet {
		options = quiet
	}
	fd, err := f.cfg().Connect(f.client, target, options...)
	if err == nil {
		*server = leg{flow: f, side: handshake.Server, fd: fd}
		err = f.loop.follow(server)
	}
	if err != nil {
		f.notConnected(err)
	}
}

// notConnected goes on with the next target.
func (f *flow) notConnected(err error) {
	f.legs[handshake.Server].close()
	f.tryNext(err)
}

func (f *flow) tryNext(err error) {
	f.err = errors.Join(f.err, err)
	if len(f.targets) == 0 {
		f.dialFailed(f.err)
		return
	}
	next := f.targets[0]
	f.targets = f.targets[1:]
	f.connect(next)
}

// connecting looks whether the server's leg is there, and has the flow begin then.
func (f *flow) connecting(events uint32) {
	remote := f.target
	// A socket that can be written, and that nothing is wrong with, is connected (tcp_poll of the kernel).
	if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != unix.EPOLLOUT || remote.Addr().IsUnspecified() {
		var err error
		remote, err = sock.Connected(f.legs[handshake.Server].fd)
		switch {
		case err != nil:
			f.notConnected(&net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(f.target), Err: err})
			return
		case !remote.IsValid():
			return
		}
	}
	now := time.Now()
	f.cfg().Observer.Dialled(now.Sub(f.opening))
	f.server = remote // a fixed upstream is not what the client dialled
	f.engine = guard{engine: f.cfg().NewEngine(f.known()), panicked: f.panicked, fallback: f.cfg().OnPanic}
	f.stepped(now)
	f.limit, f.targets, f.err = time.Time{}, nil, nil
	if f.quiet {
		f.showBy = now.Add(showAfter)
	}
	f.setTimer(now)
	f.loop.later(f)
}

// dialFailed ends a flow without a server: the client is reset.
func (f *flow) dialFailed(err error) {
	f.closed = true
	f.legs[handshake.Server].close()
	f.legs[handshake.Client].reset()
	f.cfg().Observer.DialFailed(f.client, f.server, err)
	f.leave(EndedDialFailed)
}

func (f *flow) panicked(info *session.Flow, value any, stack []byte) {
	f.loop.panics.Add(1)
	f.cfg().Observer.Panicked(info, value, stack)
}

// run carries the flow on as far as that goes without waiting: for its peers, for a secret, or for its
// turn, which it gives up after a read of each side.
func (f *flow) run() {
	if f.answered {
		f.resume()
		return
	}
	for i := range f.dirs {
		f.dirs[i].reads = 0
	}
	now := time.Now()
	for again := true; again && !f.closed; {
		again = false
		for i := range f.dirs {
			again = !f.closed && f.dirs[i].step(now) || again
		}
	}
	if !f.closed && !f.loop.share(f) && (f.dirs[0].starved() || f.dirs[1].starved()) {
		f.loop.later(f)
	}
}

// look follows the engine after it was called: a bound on time begins or ends with what it says.
func (f *flow) look(now time.Time) {
	f.account(f.engine.backlog(now))
	before := f.verdict
	f.verdict = f.engine.verdict(now)
	if f.verdict == session.Refuse {
		if before != session.Refuse {
			// Nothing may keep the alert waiting for ever: neither peer's slowness.
			f.limit = now.Add(f.cfg().RefuseTimeout)
			f.setTimer(now)
		}
		return
	}
	if done := f.engine.handshakeDone(now); done != f.limit.IsZero() {
		f.limit = time.Time{}
		if !done {
			f.limit = now.Add(f.cfg().HandshakeTimeout)
			f.setTimer(now)
		}
	}
}

// full reports whether as much waits for a secret as may.
func (f *flow) full(now time.Time) bool { return f.engine.backlog(now) > f.cfg().MaxBacklog }

// account adds what the engine's backlog has become to the server's: in pages, as the few bytes of a short connection are not worth
// to be shared.
func (f *flow) account(backlog int) {
	const page = 4 << 10
	if backlog -= backlog % page; backlog != f.backlog {
		f.loop.srv.backlog.Add(int64(backlog - f.backlog))
		f.backlog = backlog
	}
}

// await has resume called when the secret that the engine waits for is ready. Unless it is due, it is
// asked for a little later: until then the private key would only compete for the processor with what the
// peers wait for, the end of their handshake. Where they wait for the secret, too, it comes soon.
func (f *flow) await(now time.Time, due bool) {
	secret := f.engine.waiting(now)
	switch {
	case secret == nil:
	case f.peersWait(now):
		f.ask()
		secret.Hasten()
	case secret != f.awaited && !due:
		f.loop.askLater(f, now)
	case due:
		f.ask()
	}
	f.awaited = secret
}

// peersWait reports whether no more is relayed until the engine has read what it has.
func (f *flow) peersWait(now time.Time) bool {
	return f.full(now) || len(f.dirs[0].held)+len(f.dirs[1].held) > 0
}

// ask asks for the secret that the engine waits for.
func (f *flow) ask() {
	if f.ended {
		return
	}
	secret := f.engine.waiting(time.Now())
	if secret == nil || secret == f.asked {
		return
	}
	f.asked = secret
	f.bound++
	secret.Then(func() {
		f.loop.post(func() {
			f.bound--
			f.answered = true
			f.loop.later(f)
		})
	})
}

// resume has the engine read on with its secret.
func (f *flow) resume() {
	f.answered = false
	if f.ended {
		return
	}
	now := time.Now()
	f.engine.resume(now)
	if f.closed {
		f.concludeOr(now)
		return
	}
	f.look(now)
	f.await(now, true)
	f.run()
}

// A loop in the middle of other handshakes connects without a word to the server. The client speaks right after, on the same
// network, and the server is woken once and not twice, which costs a busy machine less: the busier it is, the later the client
// has its turn. For a client that says nothing within showAfter the server may be what speaks first. Where nothing else goes on, to
// be woken twice is faster.
const showAfter = 5 * time.Millisecond

var quiet = []sock.Option{sock.Quiet}

// show has the server see the connection, which the first bytes did if there were any.
func (f *flow) show() {
	f.showBy = time.Time{}
	if leg := &f.legs[handshake.Server]; !leg.wrote {
		_ = sock.Acknowledge(leg.fd) // a leg that fails says so itself
	}
}

// spoke follows the first bytes on a leg. From then on what the server sends is acknowledged at once, as on any connection that is
// new: one that sends its flight in pieces may wait for that before the next (RFC 896), and would for 40 ms.
func (f *flow) spoke(g *leg) {
	if g.side == handshake.Server && f.quiet {
		_ = sock.Acknowledge(g.fd) // a leg that fails says so itself
	}
}

// probeAfter is how old a flow is when it begins to ask the kernel whether its server has vanished.
const probeAfter = time.Minute

// setTimer has tick called when the next bound on time is reached, if there is one.
func (f *flow) setTimer(now time.Time) {
	at := f.limit
	if f.legs[handshake.Server].wrote {
		f.showBy = time.Time{}
	}
	if !f.showBy.IsZero() && (at.IsZero() || f.showBy.Before(at)) {
		at = f.showBy
	}
	if !f.until.IsZero() && (at.IsZero() || f.until.Before(at)) {
		at = f.until
	}
	if probe := f.start.Add(probeAfter); !f.probed && (at.IsZero() || probe.Before(at)) {
		at = probe
	}
	if limit := f.cfg().IdleTimeout; limit > 0 {
		if idle := f.last.Add(limit); at.IsZero() || idle.Before(at) {
			at = idle
		}
	}
	if !at.IsZero() {
		f.loop.timers.set(f, at)
	}
}

// tick enforces the bounds on time, and waits on for those that are not reached.
func (f *flow) tick(now time.Time) {
	reached := !f.limit.IsZero() && !now.Before(f.limit)
	limit := f.cfg().IdleTimeout
	switch {
	case f.closed:
		return
	case f.engine.engine == nil:
		f.dialFailed(context.DeadlineExceeded)
		return
	case reached && f.verdict == session.Refuse:
		f.close(EndedRefused, nil)
		return
	case limit > 0 && now.Sub(f.last) >= limit:
		f.abort(EndedIdle, nil)
		return
	case !f.until.IsZero() && !now.Before(f.until):
		f.gaveUp()
		return
	case !f.showBy.IsZero() && !now.Before(f.showBy):
		f.show()
	case !f.probed && now.Sub(f.start) >= probeAfter:
		f.probed = true
		_ = sock.KeepAlive(f.legs[handshake.Server].fd) // a leg that fails says so itself
	case reached:
		f.limit = time.Time{}
		f.engine.fail(session.HandshakeTimeout, "the handshake took too long", now)
		f.look(now)
		f.setTimer(now)
		f.run()
		return
	}
	f.setTimer(now)
}

// gaveUp ends a flow of which one peer has broken the connection, and the other is too slow for what is
// left of it.
func (f *flow) gaveUp() {
	for i := range f.dirs {
		if d := &f.dirs[i]; d.lost != nil {
			f.broke(d.side.Opposite(), d.lost)
		}
	}
}

// relayed counts bytes that one side sent.
func (f *flow) relayed(side handshake.Side, n int, now time.Time) {
	f.last = now
	f.loop.bytes[side].Add(uint64(n))
	f.stepped(now)
}

// inHandshake reports whether a peer may wait for the next step of a handshake: one is in progress, or the connecting before it, or
// nothing was said since. What is only read later is none.
func (f *flow) inHandshake() bool {
	if f.answered && len(f.dirs[0].held)+len(f.dirs[1].held) == 0 {
		return false
	}
	return !f.limit.IsZero() || f.last.Equal(f.start)
}

// movable reports whether another loop may carry the flow on.
func (f *flow) movable() bool { return f.bound == 0 && !f.queued && !f.inHandshake() }

// stepped has the loop linger for the next step of a handshake, or of the connecting before it.
func (f *flow) stepped(now time.Time) {
	if !f.limit.IsZero() {
		f.loop.linger(now)
	}
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
	if f.verdict == session.Refuse {
		reason = EndedRefused // a peer would not take what was left for it
	} else {
		f.engine.reset(side, time.Now())
	}
	f.abort(reason, err)
}

// abort resets both legs.
func (f *flow) abort(why Reason, err error) { f.end(why, err, (*leg).reset) }

// close closes both legs, in order.
func (f *flow) close(why Reason, err error) { f.end(why, err, (*leg).close) }

func (f *flow) end(why Reason, err error, let func(*leg)) {
	if f.closed {
		return
	}
	f.closed, f.reason, f.err = true, why, err
	for i := range f.legs {
		let(&f.legs[i])
	}
	for i := range f.dirs {
		f.dirs[i].drop()
	}
	f.loop.timers.remove(f)
	f.concludeOr(time.Now())
}

// concludeOr ends the flow, or waits for a secret that is on its way: the flow is read to its end
// before it is ended, without its legs.
func (f *flow) concludeOr(now time.Time) {
	if !f.loop.hurry && f.engine.waiting(now) != nil {
		f.await(now, true)
		return
	}
	f.conclude(now)
}

// shutdown resets the flow because the server stops.
func (f *flow) shutdown() {
	switch {
	case f.ended:
	case f.closed:
		f.conclude(time.Now()) // the secret may never come
	case f.engine.engine == nil:
		f.dialFailed(context.Canceled)
	default:
		f.abort(EndedByShutdown, nil)
	}
}

// conclude ends the engine, tells of it, and lets go of the flow.
func (f *flow) conclude(now time.Time) {
	if f.ended {
		return
	}
	for i := range f.dirs {
		f.engine.flow().Bytes[i] += f.dirs[i].unseen
	}
	f.account(0)
	info := f.engine.end(now)
	f.cfg().Observer.Ended(info, f.reason, f.err)
	if f.reason == EndedRefused {
		f.loop.countRefused(info.Cause)
	}
	f.leave(f.reason)
}

func (f *flow) leave(why Reason) {
	f.ended = true
	l := f.loop
	l.counters.ended[why].Add(1)
	l.timers.remove(f)
	delete(l.flows, f)
	l.load.Add(-1)
	l.srv.active.Add(-1)
}

// passed is called when a direction has nothing more to carry. After both, the legs are closed in order.
func (f *flow) passed() {
	if f.dirs[0].through && f.dirs[1].through {
		why := EndedInOrder
		if f.verdict == session.Refuse {
			why = EndedRefused
		}
		f.close(why, nil)
	}
}
