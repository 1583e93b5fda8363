// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// refuse ends the direction of a refused flow. A reset resets both legs. An alert is written to dst
// after all that was released, and then src is read until its peer closes: a connection closed with
// bytes unread sends a RST, which would overtake the alert (RFC 2525, Section 2.17).
func (d *direction) refuse() {
	f := d.flow
	now := f.now()
	f.mu.Lock()
	refusal := f.engine.refusal(now)
	d.poked, d.held = false, nil
	f.mu.Unlock()
	if refusal.Action != session.ActionAlert {
		f.abort(EndedRefused, nil)
		return
	}
	alert := refusal.ToServer
	if d.side == handshake.Server {
		alert = refusal.ToClient
	}
	bound := now.Add(f.srv.cfg.RefuseTimeout)
	_ = d.src.conn.SetReadDeadline(bound)
	_ = d.dst.conn.SetWriteDeadline(bound)
	// A peer that is gone already needs no alert, and the other is told all the same.
	if d.dst.write(alert) == nil {
		_ = d.dst.conn.CloseWrite()
	}
	d.discard()
	f.passed(EndedRefused)
}

// discard reads src until its peer closes, or has had enough time or bytes to.
func (d *direction) discard() {
	f := d.flow
	for left := f.srv.cfg.MaxDiscard; left > 0 && !d.eof; {
		buf, n, err := d.src.read()
		if err != nil {
			return
		}
		if n == 0 {
			d.eof = true
			f.mu.Lock()
			f.engine.closeSide(d.side, f.now())
			f.mu.Unlock()
			return
		}
		buf.free()
		left -= n
	}
}
