// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// refuse ends the direction of a refused flow, a step at a time, and returns whether it did one. A reset
// resets both legs. An alert is written to dst after all that was released, and src is read until its peer
// closes: a connection closed with bytes unread sends a RST, which would overtake the alert (RFC 2525,
// Section 2.17).
func (d *direction) refuse(now time.Time) bool {
	if !d.alerted {
		d.alert(now)
		return true
	}
	if d.through {
		return false
	}
	d.deliver()
	if d.discard(now) {
		return true
	}
	if d.out == nil && (d.eof || d.discarded >= d.flow.cfg().MaxDiscard) {
		d.through = true
		d.flow.passed()
		return true
	}
	return false
}

// alert puts the alert behind what was released.
func (d *direction) alert(now time.Time) {
	f := d.flow
	released := d.release(now)
	d.alerted, d.through, d.held = true, false, nil
	refusal := f.engine.refusal(now)
	if refusal.Action != session.ActionAlert {
		f.abort(EndedRefused, nil)
		return
	}
	alert := refusal.ToServer
	if d.side == handshake.Server {
		alert = refusal.ToClient
	}
	out := append(append(append([]byte(nil), d.out...), released...), alert...)
	d.flow.loop.putBuffer(d.buf)
	d.out, d.buf = out, nil
}

// deliver writes the alert and ends what dst is sent. A peer that is gone already needs no alert, and the
// other is told all the same.
func (d *direction) deliver() {
	if d.out == nil || !d.dst.writable {
		return
	}
	err := d.flushSome()
	if err == nil && (len(d.out) > 0 || d.pipe != nil) {
		return
	}
	d.drop()
	if err == nil {
		_ = d.dst.shut()
	}
}

func (d *direction) mayDiscard() bool {
	return d.src.readable && !d.eof && d.discarded < d.flow.cfg().MaxDiscard
}

// discard reads src, and returns whether there may be more.
func (d *direction) discard(now time.Time) bool {
	if !d.mayDiscard() || d.reads >= readsATurn {
		return false
	}
	l := d.flow.loop
	buf := l.getBuffer(uint8(len(bufferSizes) - 1))
	defer l.putBuffer(buf)
	n, again, err := d.src.read(buf.b)
	d.discarded += n
	d.reads++
	if again && n == 0 {
		d.flow.engine.closeSide(d.side, now)
	}
	d.eof = d.eof || err != nil || again && n == 0
	return again && !d.eof
}
