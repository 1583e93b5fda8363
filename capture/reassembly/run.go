// SPDX-License-Identifier: Apache-2.0

package reassembly

// run delivers what is in order, and gives up what was waited for long enough.
func (c *Conn) run(p *Pool, to Stream) {
	for {
		c.advance(p, to)
		dir, ok := c.due(p)
		if !ok {
			break
		}
		if !c.unblock(dir, p, to) {
			break
		}
	}
	for i := range c.half {
		c.wait(i)
	}
}

// wait marks a direction that something waits for.
func (c *Conn) wait(dir int) {
	h := &c.half[dir]
	waits := len(h.queue) > 0 || h.fin || h.rst || !h.synced && c.blocks(h, &c.half[1-dir])
	if waits && !h.waiting {
		h.since = mark{c.count, c.now}
	}
	h.waiting = waits
}

// blocks reports whether the other direction waits for the beginning of this one.
func (c *Conn) blocks(h, other *half) bool {
	switch {
	case h.closed || !other.synced:
		return false
	case len(other.queue) > 0:
		return other.queue[0].off == other.next && other.queue[0].by.has
	}
	return other.fin && other.finAt == other.next && other.finBy.has ||
		other.rst && other.rstAt <= other.next && other.rstBy.has
}

// advance delivers, over both directions, what is next and whose causes were delivered; what came
// first goes first.
func (c *Conn) advance(p *Pool, to Stream) {
	for {
		a, b := c.ready(0), c.ready(1)
		switch {
		case !a && !b:
			return
		case a && b && c.later(0, 1), !a:
			c.step(1, p, to)
		default:
			c.step(0, p, to)
		}
	}
}

// later reports whether what direction x has next came after what direction y has.
func (c *Conn) later(x, y int) bool {
	a, b := c.half[x].queue, c.half[y].queue
	switch {
	case len(a) == 0:
		return len(b) > 0
	case len(b) == 0:
		return false
	}
	return int32(a[0].count-b[0].count) > 0
}

// ready reports whether a direction has something to deliver now.
func (c *Conn) ready(dir int) bool {
	h, peer := &c.half[dir], &c.half[1-dir]
	if h.rst && c.resetReady(h, peer) {
		return true
	}
	if !h.synced || h.closed {
		return false
	}
	if len(h.queue) > 0 {
		return h.queue[0].off <= h.next && c.caused(peer, h.queue[0].by)
	}
	return h.fin && h.finAt <= h.next && c.caused(peer, h.finBy)
}

func (c *Conn) resetReady(h, peer *half) bool {
	if h.closed {
		return true
	}
	return h.synced && h.next >= h.rstAt && (len(h.queue) == 0 || h.queue[0].off > h.next) &&
		c.caused(peer, h.rstBy)
}

// step delivers one thing of a direction, whatever it acknowledges.
func (c *Conn) step(dir int, p *Pool, to Stream) {
	h := &c.half[dir]
	switch {
	case len(h.queue) > 0 && h.queue[0].off <= h.next && !h.closed:
		e := h.pop()
		c.deliver(dir, e.data, e.end, p, to)
		h.drop(&e, p)
	case h.rst && (h.closed || h.next >= h.rstAt):
		h.end(p)
		h.rst, h.reset = false, true
		to.Reset(dir)
	case h.fin:
		h.next++ // a FIN has a sequence number of its own
		h.end(p)
		to.Fin(dir)
	}
}

// end closes a direction. A RST may still follow a FIN.
func (h *half) end(p *Pool) {
	for len(h.queue) > 0 {
		e := h.pop()
		h.drop(&e, p)
	}
	h.fin, h.over, h.closed = false, false, true
}
