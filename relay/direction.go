// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// direction carries what one side sends to the other.
type direction struct {
	flow     *flow
	side     handshake.Side
	src, dst *leg

	class   uint8
	reads   int     // in this turn
	held    []byte  // read and fed, not to be relayed yet
	out     []byte  // to be relayed, when dst takes it
	buf     *buffer // of out; nil: its own
	pipe    *pipe   // spliced, to be relayed when dst takes it; nil: nothing
	unseen  uint64  // bytes of a bypassed flow, which the engine was not fed
	stalled bool    // what it brought filled the engine's backlog
	last    bool    // no more comes than what was read
	eof     bool    // src ended
	through bool    // nothing is to be carried any more
	lost    error   // dst takes nothing any more

	alerted   bool // refused, and the alert is among what is to be relayed
	discarded int  // bytes, after a refusal
}

// step does one thing if there is one to do, and returns whether it did.
func (d *direction) step(now time.Time) bool {
	if d.flow.verdict == session.Refuse {
		return d.refuse(now)
	}
	if d.through || d.lost != nil {
		return false
	}
	if !d.flush() {
		return d.lost != nil // the other direction may go on to its end then
	}
	switch rest := d.release(now); {
	case len(rest) > 0:
		d.put(rest, nil)
		return true
	case d.eof && len(d.held) == 0:
		d.finish(now)
		return true
	case !d.mayRead(now):
		return false
	case d.flow.verdict == session.Bypass && d.comesMuch() && !d.src.urgent:
		return d.splice(now)
	}
	return d.read(now)
}

// comesMuch reports whether what comes at once filled a buffer: a read and a write cost less than two splices for a little.
func (d *direction) comesMuch() bool { return d.class > 0 || d.flow.cfg().alwaysSplice }

// longTurn is how long what one read gave may take. It is many times what the fast ciphers need.
const longTurn = time.Millisecond

// readsATurn bounds how much a flow does before others have their turn.
const readsATurn = 1

func (d *direction) mayRead(now time.Time) bool {
	d.stalled = d.stalled && d.flow.full(now)
	return d.src.readable && !d.eof && !d.stalled && d.reads < readsATurn
}

// starved reports whether the direction could go on if it was its flow's turn.
func (d *direction) starved() bool {
	if d.flow.verdict == session.Refuse {
		return d.reads >= readsATurn && d.mayDiscard()
	}
	return d.reads >= readsATurn && d.src.readable && !d.eof && !d.stalled && d.lost == nil && len(d.out) == 0 && d.pipe == nil
}

// read relays what one read gives.
func (d *direction) read(now time.Time) bool {
	l := d.flow.loop
	buf := l.getBuffer(d.class)
	n, again, err := d.src.read(buf.b)
	d.reads++
	switch {
	case err != nil:
		d.flow.broke(d.side, err)
	case !again:
		l.putBuffer(buf)
		return false
	case n == 0:
		d.end(now)
	default:
		d.class = nextClass(d.class, n)
		d.last = d.src.last(n, len(buf.b))
		d.relay(buf, n, now)
		if d.last && d.lost == nil && !d.flow.closed && d.flow.verdict != session.Refuse {
			d.end(now)
		}
		if time.Since(now) > longTurn {
			d.class = 0 // a cipher that takes its time: the loop's other flows wait
		}
		return true
	}
	l.putBuffer(buf)
	return true
}

// relay passes on what was read, as far as the engine lets it, and gives the buffer back. What the engine
// lets go ahead is written before it is read: the peer does not wait for the decryption.
func (d *direction) relay(buf *buffer, n int, now time.Time) {
	f, b := d.flow, buf.b[:n]
	if f.verdict == session.Bypass {
		d.unseen += uint64(n)
		f.relayed(d.side, n, now)
		d.put(b, buf)
		return
	}
	written, err := d.writeAhead(b, now)
	f.engine.feed(d.side, now, b)
	rest := d.hold(b[written:], now)
	f.look(now)
	f.relayed(d.side, n, now)
	if err != nil {
		f.loop.putBuffer(buf)
		d.lose(err)
	} else {
		d.put(rest, buf)
	}
	if !f.closed {
		d.stalled = f.full(now)
		f.await(now, false)
	}
}

// writeAhead writes what may be relayed before it is fed, and the socket takes at once.
func (d *direction) writeAhead(b []byte, now time.Time) (int, error) {
	if len(d.held) > 0 || !d.dst.writable {
		return 0, nil
	}
	n := d.flow.engine.ahead(d.side, now, b)
	if n == 0 {
		return 0, nil
	}
	return d.dst.write(b[:n], n == len(b) && d.endFollows())
}

// endFollows reports whether the end of the stream is next, once all is written that is to be relayed.
func (d *direction) endFollows() bool {
	return d.last && len(d.held) == 0 && d.flow.verdict != session.Refuse
}

// hold keeps back what the engine holds of the bytes read so far and returns what goes on: a slice of
// b, or of what was held before.
func (d *direction) hold(b []byte, now time.Time) []byte {
	f := d.flow
	total := len(d.held) + len(b)
	keep := f.engine.held(d.side, now, total)
	if keep > f.cfg().MaxHeld {
		f.engine.fail(session.HandshakeTooLarge, "more had to be held than is allowed", now)
		f.look(now)
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

// release returns what was held and is not any more.
func (d *direction) release(now time.Time) []byte {
	held := len(d.held)
	if held == 0 || d.flow.engine.held(d.side, now, held) == held {
		return nil
	}
	rest := d.hold(nil, now)
	d.flow.look(now)
	return rest
}

// put relays bytes: what dst does not take now, when it does. buf is what they are in; nil: they are their
// own.
func (d *direction) put(b []byte, buf *buffer) {
	d.out, d.buf = b, buf
	d.flush()
}

// flush writes what is to be relayed, and returns whether all of it is.
func (d *direction) flush() bool {
	switch {
	case len(d.out) == 0 && d.pipe == nil:
	case !d.dst.writable:
		return false
	default:
		if err := d.flushSome(); err != nil {
			d.lose(err)
			return false
		}
		if len(d.out) > 0 || d.pipe != nil {
			return false
		}
	}
	d.drop()
	return true
}

func (d *direction) flushSome() error {
	if d.pipe != nil {
		if err := d.flushPipe(); err != nil || d.pipe != nil {
			return err
		}
	}
	n, err := d.dst.write(d.out, d.endFollows())
	d.out = d.out[n:]
	return err
}

// drop lets go of what was to be relayed.
func (d *direction) drop() {
	d.flow.loop.putBuffer(d.buf)
	d.out, d.buf = nil, nil
	if d.pipe != nil {
		d.pipe.free()
		d.pipe = nil
	}
}

// lose stops the direction because dst takes nothing any more. What dst sent before it broke is relayed
// before the flow ends.
func (d *direction) lose(err error) {
	d.drop()
	d.lost = err
	f := d.flow
	if back := &f.dirs[d.side.Opposite()]; back.eof || back.lost != nil {
		f.broke(back.side, err)
		return
	}
	d.dst.readable, d.dst.ended = true, true
	now := time.Now()
	f.until = now.Add(f.cfg().RefuseTimeout) // its peer may be slow to take it
	f.setTimer(now)
}

// end notes the end of what src sends.
func (d *direction) end(now time.Time) {
	f := d.flow
	if err := f.dirs[d.side.Opposite()].lost; err != nil {
		f.broke(d.side, err) // the write has taken the error that the read would have had
		return
	}
	d.eof = true
	f.engine.closeSide(d.side, now)
	if len(d.held) > 0 && f.engine.held(d.side, now, len(d.held)) > 0 && f.engine.waiting(now) == nil {
		f.engine.fail(session.Malformed, "the "+d.side.String()+" closed in the middle of its handshake", now)
	}
	f.look(now)
	if len(d.held) > 0 {
		f.await(now, true)
	}
}

// finish passes the end of the stream on, after all its bytes. The end of both is their legs'.
func (d *direction) finish(now time.Time) {
	d.through = true
	f := d.flow
	if !f.dirs[d.side.Opposite()].through {
		if err := d.dst.shut(); err != nil {
			d.lose(err)
			return
		}
		f.await(now, true) // the peer has its end, and waits for nothing of the key's
		return
	}
	f.passed()
}
