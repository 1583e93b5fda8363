// SPDX-License-Identifier: Apache-2.0

package reassembly

// due returns a direction in which something was waited for long enough, or for which too much is
// held.
func (c *Conn) due(p *Pool) (dir int, ok bool) {
	l := &p.Limits
	if c.Held() > l.Bytes {
		if c.half[1].bytes > c.half[0].bytes {
			dir = 1
		}
		return dir, true
	}
	for dir := range c.half {
		h := &c.half[dir]
		if len(h.queue) > l.Segments || h.pending() && c.overdue(h, &c.half[1-dir], l) {
			return dir, true
		}
	}
	return 0, false
}

// overdue says whether a direction that waits has waited long enough for what it waits for.
func (c *Conn) overdue(h, peer *half, l *Limits) bool {
	switch {
	case !h.synced:
		return h.waiting && c.reordered(h.since, l)
	case h.over && !h.likelyFIN() && c.reordered(h.overAt, l):
		return true
	case !h.waiting:
		return false
	case len(h.queue) > 0 && h.queue[0].off > h.next, len(h.queue) == 0 && h.fin && h.finAt > h.next:
		return c.hole(h, peer, l)
	case len(h.queue) > 0 || h.fin || h.rst:
		return c.reordered(h.since, l)
	}
	return false
}

// reordered reports whether the window for packets out of order has passed since m.
func (c *Conn) reordered(m mark, l *Limits) bool { return c.passed(m, l.ReorderPackets, l.ReorderTime) }

// hole reports whether a hole that nobody has acknowledged will not be filled any more.
func (c *Conn) hole(h, peer *half, l *Limits) bool {
	switch {
	case h.rst || peer.rst || peer.reset:
		return c.reordered(h.since, l) // nothing is sent again
	case peer.absent || !peer.seen:
		// Acknowledgments are not in the capture at all.
		return c.passed(h.since, l.HolePackets/16, l.HoleTime/6)
	}
	return c.passed(h.since, l.HolePackets, l.HoleTime)
}

func (c *Conn) passed(m mark, packets uint32, time int64) bool {
	return c.count-m.count >= packets || c.now-m.time >= time
}

// likelyFIN reports whether the only thing that was acknowledged and not captured is one sequence
// number: rather a FIN than a byte.
func (h *half) likelyFIN() bool {
	return len(h.queue) == 0 && !h.fin && h.acked == h.next+1
}

// unblock removes, by one step, what keeps a direction from going on. It returns false if nothing
// does.
func (c *Conn) unblock(dir int, p *Pool, to Stream) bool {
	h := &c.half[dir]
	switch {
	case !h.synced:
		return c.begin(dir)
	case len(h.queue) > 0 && h.queue[0].off > h.next:
		end := h.queue[0].off
		if h.over {
			end = min(end, h.acked)
		}
		c.gap(dir, end, p, to)
	case len(h.queue) > 0:
		c.unblockCause(dir, h.queue[0].by, p, to)
	case h.fin && h.finAt > h.next:
		c.gap(dir, h.finAt, p, to)
	case h.fin:
		c.unblockCause(dir, h.finBy, p, to)
	case h.over:
		c.gap(dir, h.acked, p, to)
	case h.rst && h.rstAt > h.next:
		h.next = h.rstAt // the bytes before it never arrived
	case h.rst:
		c.unblockCause(dir, h.rstBy, p, to)
	default:
		return false
	}
	return true
}

// begin begins the stream of a direction whose SYN was not captured.
func (c *Conn) begin(dir int) bool {
	h := &c.half[dir]
	switch {
	case len(h.queue) > 0:
		h.sync(h.queue[0].off, c)
	case h.ackSeen:
		h.sync(h.place(h.lastAck), c)
		h.absent = !h.seen
	case h.fin:
		h.sync(h.finAt, c)
	case h.rst:
		h.sync(h.rstAt, c)
	default:
		return false
	}
	return true
}

// unblockCause deals with bytes of the peer that were acknowledged by what a direction has next, and
// were not delivered: they are missing, or wait for this direction in their turn.
func (c *Conn) unblockCause(dir int, by cause, p *Pool, to Stream) {
	peer := &c.half[1-dir]
	if !peer.synced {
		if !c.begin(1 - dir) {
			c.step(dir, p, to)
		}
		return
	}
	end := peer.place(by.ack)
	if len(peer.queue) > 0 {
		end = min(end, peer.queue[0].off)
	}
	if peer.fin {
		end = min(end, peer.finAt)
	}
	if end <= peer.next || peer.likelyFIN() {
		c.step(dir, p, to)
		return
	}
	c.gap(1-dir, end, p, to)
}

// Tick says that time has gone on without a packet.
func (c *Conn) Tick(now int64, p *Pool, to Stream) {
	c.now = now
	c.run(p, to)
}

// Flush delivers all that is held, with gaps where something is missing: nothing comes any more.
func (c *Conn) Flush(p *Pool, to Stream) {
	for {
		c.advance(p, to)
		dir, ok := c.flushNext()
		if !ok {
			return
		}
		h := &c.half[dir]
		if h.synced && h.over && h.likelyFIN() {
			h.fin, h.finAt, h.finBy = true, h.next, cause{}
			continue
		}
		if !c.unblock(dir, p, to) {
			h.waiting = false
		}
	}
}

// flushNext picks the direction to unblock next: the one whose first held segment came first.
func (c *Conn) flushNext() (dir int, ok bool) {
	a, b := &c.half[0], &c.half[1]
	switch {
	case len(a.queue) > 0 || len(b.queue) > 0:
		if c.later(0, 1) || len(a.queue) == 0 {
			return 1, true
		}
		return 0, true
	case a.pending():
		return 0, true
	}
	return 1, b.pending()
}
