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
	finSent bool // and so, after all its bytes, did dst
	spliced uint64

	// Under flow.mu.
	held    []byte          // read and fed, not to be relayed yet
	told    session.Verdict // the last verdict that the goroutine acted on
	poked   bool
	stalled bool // the engine's backlog is full
}

// poke wakes the goroutine where it reads. Called with flow.mu held.
func (d *direction) poke() {
	d.poked = true
	d.src.poke()
}

// run relays until the direction ends, then watches for a reset until the other has ended, too.
func (d *direction) run() {
	defer d.flow.done()
	verdict, ok := session.Undecided, true
	for ok && !d.finSent {
		switch verdict {
		case session.Refuse:
			d.refuse()
			return
		case session.Bypass:
			ok = d.splice()
		default:
			verdict, ok = d.step()
		}
	}
	if ok {
		d.flow.passed(EndedInOrder)
		d.watch()
	}
}

// step waits for one thing to happen and deals with it. It is not ok when the flow is over.
func (d *direction) step() (session.Verdict, bool) {
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

// failed ends the flow because the leg on a side failed.
func (d *direction) failed(side handshake.Side, err error) (session.Verdict, bool) {
	if err != nil && !closedByUs(err) {
		d.flow.broke(side, err)
	}
	return session.Undecided, false
}

// relay passes on what was read, as far as the engine lets it. What it lets go ahead is written
// before it is read: the peer does not wait for the decryption. Both happen under the lock, or the
// answer to these bytes could be fed before them; but what the peer does not take at once is written
// when the lock is released, for a peer may take nothing until it is read from.
func (d *direction) relay(b []byte) (session.Verdict, bool) {
	f := d.flow
	now := f.now()
	f.mu.Lock()
	written, err := d.writeAhead(b, now)
	f.engine.feed(d.side, now, b)
	rest := d.hold(b[written:], now)
	verdict := f.look(now)
	d.told = verdict
	d.stalled = f.engine.backlog(now) > f.srv.cfg.MaxBacklog
	waiting := f.engine.waiting(now) != nil
	f.mu.Unlock()
	f.relayed(d.side, len(b), now)
	if waiting {
		f.await()
	}
	if err == nil && len(rest) > 0 {
		err = d.dst.write(rest)
	}
	if err != nil {
		return d.failed(d.side.Opposite(), err)
	}
	return verdict, true
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
// end of the stream is passed on when nothing is held any more.
func (d *direction) settle() (session.Verdict, bool) {
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
	f.mu.Unlock()
	f.await()
	if len(rest) > 0 {
		if err := d.dst.write(rest); err != nil {
			return d.failed(d.side.Opposite(), err)
		}
	}
	if last {
		return verdict, d.finish()
	}
	return verdict, true
}

// ended notes the end of what src sends.
func (d *direction) ended() {
	f := d.flow
	now := f.now()
	d.eof = true
	f.mu.Lock()
	defer f.mu.Unlock()
	f.engine.closeSide(d.side, now)
	if len(d.held) > 0 && f.engine.held(d.side, now, len(d.held)) > 0 && f.engine.waiting(now) == nil {
		f.engine.fail(session.Malformed, "the "+d.side.String()+" closed in the middle of its handshake", now)
	}
}

// finish passes the end of the stream on, after all its bytes.
func (d *direction) finish() bool {
	d.finSent = true
	if err := d.dst.conn.CloseWrite(); err != nil {
		d.failed(d.side.Opposite(), err)
		return false
	}
	return true
}

// splice passes everything on to the end of the stream, inside the kernel.
func (d *direction) splice() bool {
	f := d.flow
	for !d.eof {
		p, err := d.src.readPipe()
		switch {
		case poked(err):
			if _, ok := d.settle(); !ok {
				return false
			}
			continue
		case err != nil:
			d.failed(d.side, err)
			return false
		case p == nil:
			d.ended()
			continue
		}
		n := p.n
		err = d.dst.writePipe(p)
		p.free()
		if err != nil {
			d.failed(d.side.Opposite(), err)
			return false
		}
		d.spliced += uint64(n)
		f.shard.spliced[d.side].Add(uint64(n))
		f.relayed(d.side, n, f.now())
	}
	return d.finSent || d.finish()
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
