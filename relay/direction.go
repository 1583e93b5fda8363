// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// direction carries what one side sends to the other. Its goroutine alone reads src and writes dst.
type direction struct {
	flow     *flow
	side     handshake.Side
	src, dst *leg

	// The goroutine's own.
	eof     bool // src ended
	spliced uint64

	// Under flow.mu.
	held    []byte          // read and fed, not to be relayed yet
	told    session.Verdict // the last verdict that the goroutine acted on
	poked   bool
	stalled bool   // the engine's backlog is full
	over    bool   // src ended
	leave   bool   // the goroutine is to leave, if there is still nothing to do
	parked  bool   // it left: the lot wakes the direction
	ticket  uint64 // in the lot
}

// state says how a direction's goroutine goes on.
type state uint8

const (
	goOn  state = iota
	over        // the flow is
	gone        // the direction is parked: it is no longer this goroutine's
	ended       // all of src was relayed
)

// poke wakes the goroutine where it reads. Called with flow.mu held.
func (d *direction) poke() {
	d.poked = true
	d.src.poke()
	if d.parked {
		d.resume()
	}
}

// run relays until the direction ends, then watches for a reset until the other has ended, too.
func (d *direction) run() {
	verdict, st := d.told, goOn
	for st == goOn {
		switch verdict {
		case session.Refuse:
			d.refuse()
			st = over
		case session.Bypass:
			st = d.splice()
		default:
			verdict, st = d.step()
		}
	}
	if st == ended {
		d.flow.passed(EndedInOrder)
		d.watch()
	}
	if st != gone {
		d.flow.done()
	}
}

// step waits for one thing to happen and deals with it.
func (d *direction) step() (session.Verdict, state) {
	if d.eof || d.stalled {
		if err := d.src.park(); !poked(err) {
			return d.failed(d.side, err)
		}
		return d.settle()
	}
	buf, n, err := d.src.read()
	switch {
	case poked(err):
		return d.settle()
	case err != nil:
		return d.failed(d.side, err)
	case n == 0:
		d.ended()
		return d.settle()
	}
	defer buf.free()
	return d.relay(buf.b[:n])
}

// failed ends the flow because the leg on a side failed, unless that is because the flow was closed.
func (d *direction) failed(side handshake.Side, err error) (session.Verdict, state) {
	if err != nil {
		d.flow.broke(side, err)
	}
	return session.Undecided, over
}

// relay passes on what was read, as far as the engine lets it. What it lets go ahead is written
// before it is read: the peer does not wait for the decryption. Both happen under the lock, or the
// answer to these bytes could be fed before them; but what the peer does not take at once is written
// when the lock is released, for a peer may take nothing until it is read from.
func (d *direction) relay(b []byte) (session.Verdict, state) {
	f := d.flow
	now := f.now()
	f.mu.Lock()
	written, err := d.writeAhead(b, now)
	f.engine.feed(d.side, now, b)
	rest := d.hold(b[written:], now)
	verdict := f.look(now)
	d.told = verdict
	d.stalled = f.engine.backlog(now) > f.srv.cfg.MaxBacklog
	waiting, due := f.engine.waiting(now) != nil, d.stalled
	f.mu.Unlock()
	f.relayed(d.side, len(b), now)
	if err == nil && len(rest) > 0 {
		err = d.dst.write(rest)
	}
	if waiting {
		f.await(due)
	}
	if err != nil {
		return d.failed(d.side.Opposite(), err)
	}
	return verdict, goOn
}

// writeAhead writes what may be relayed before it is fed, and the socket takes at once.
func (d *direction) writeAhead(b []byte, now time.Time) (int, error) {
	if len(d.held) > 0 {
		return 0, nil
	}
	n := d.flow.engine.ahead(d.side, now, b)
	if n == 0 {
		return 0, nil
	}
	return d.dst.writeNow(b[:n])
}

// hold keeps back what the engine holds of the bytes read so far and returns what goes on: a slice of
// b, or of what was held before. Called with flow.mu held.
func (d *direction) hold(b []byte, now time.Time) []byte {
	f := d.flow
	total := len(d.held) + len(b)
	keep := f.engine.held(d.side, now, total)
	if keep > f.srv.cfg.MaxHeld {
		f.engine.fail(session.HandshakeTooLarge, "more had to be held than is allowed", now)
		keep = f.engine.held(d.side, now, total)
	}
	if len(d.held) == 0 {
		d.held = append([]byte(nil), b[len(b)-keep:]...)
		return b[:len(b)-keep]
	}
	all := append(d.held, b...)
	d.held = append([]byte(nil), all[total-keep:]...)
	return all[:total-keep]
}

// settle deals with what the engine has said meanwhile: held bytes go on, a stall is over, and the
// end of the stream is passed on when nothing is held any more. Where there is nothing to do at all
// the goroutine leaves if it was asked to.
func (d *direction) settle() (session.Verdict, state) {
	f := d.flow
	now := f.now()
	f.mu.Lock()
	if d.poked {
		d.poked = false
		d.src.unpoke()
	}
	rest := d.hold(nil, now)
	verdict := f.look(now)
	d.told = verdict
	d.stalled = f.engine.backlog(now) > f.srv.cfg.MaxBacklog
	last := d.eof && len(d.held) == 0 && verdict != session.Refuse
	due := d.eof || d.stalled
	if d.leaves(len(rest)) {
		f.mu.Unlock()
		return verdict, gone
	}
	f.mu.Unlock()
	f.await(due)
	if len(rest) > 0 {
		if err := d.dst.write(rest); err != nil {
			return d.failed(d.side.Opposite(), err)
		}
	}
	if last {
		return verdict, d.finish()
	}
	return verdict, goOn
}

// leaves parks the direction if its goroutine was asked to leave and still can. Called with flow.mu
// held; when it is released the direction may have another goroutine already.
func (d *direction) leaves(rest int) bool {
	asked := d.leave
	d.leave = false
	if !asked || rest > 0 || d.poked || d.flow.closed || !d.mayPark() || d.flow.srv.lot.add(d) != nil {
		return false
	}
	d.parked = true
	return true
}

// ended notes the end of what src sends.
func (d *direction) ended() {
	f := d.flow
	now := f.now()
	d.eof = true
	f.mu.Lock()
	defer f.mu.Unlock()
	d.over = true
	f.engine.closeSide(d.side, now)
	if len(d.held) > 0 && f.engine.held(d.side, now, len(d.held)) > 0 && f.engine.waiting(now) == nil {
		f.engine.fail(session.Malformed, "the "+d.side.String()+" closed in the middle of its handshake", now)
	}
}

// finish passes the end of the stream on, after all its bytes.
func (d *direction) finish() state {
	if err := d.dst.conn.CloseWrite(); err != nil {
		_, st := d.failed(d.side.Opposite(), err)
		return st
	}
	return ended
}

// splice passes everything on to the end of the stream, inside the kernel.
func (d *direction) splice() state {
	for {
		p, err := d.src.readPipe()
		switch {
		case poked(err):
			if _, st := d.settle(); st != goOn {
				return st
			}
			continue
		case err != nil:
			_, st := d.failed(d.side, err)
			return st
		case p == nil:
			d.ended()
			return d.finish()
		}
		n := p.n
		err = d.dst.writePipe(p)
		p.free()
		if err != nil {
			_, st := d.failed(d.side.Opposite(), err)
			return st
		}
		d.spliced += uint64(n)
		d.flow.shard.spliced[d.side].Add(uint64(n))
		d.flow.relayed(d.side, n, d.flow.now())
	}
}

// watch waits, after the end of the stream, for the flow's end: a reset still has to reach the other
// side.
func (d *direction) watch() {
	for {
		err := d.src.park()
		if !poked(err) {
			d.failed(d.side, err)
			return
		}
		d.flow.mu.Lock()
		d.poked = false
		d.src.unpoke()
		d.told = d.flow.engine.verdict(d.flow.now())
		d.flow.mu.Unlock()
	}
}
