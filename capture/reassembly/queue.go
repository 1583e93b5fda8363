// SPDX-License-Identifier: Apache-2.0

package reassembly

import "sort"

// hold keeps what is new of a segment until it is its turn.
func (c *Conn) hold(h *half, s *Segment, off, end int64, by cause, p *Pool) {
	if h.synced && end <= h.next {
		p.Counters.Retransmitted++
		return
	}
	from, to := off, end
	if h.synced {
		if off-h.next >= maxSeqReach {
			return // no window reaches so far
		}
		from = max(from, h.next)
	}
	if h.fin {
		to = min(to, h.finAt)
	}
	if from >= to {
		return
	}
	i := sort.Search(len(h.queue), func(i int) bool { return h.queue[i].end > from })
	pieces := 0
	for from < to {
		stop := to
		if i < len(h.queue) {
			stop = min(stop, h.queue[i].off)
		}
		if from < stop {
			h.insert(i, s, off, from, stop, by, c.count, p)
			pieces++
			i++
		}
		if i < len(h.queue) {
			from = max(stop, h.queue[i].end)
		} else {
			from = stop
		}
		i++
	}
	switch {
	case pieces == 0:
		p.Counters.Retransmitted++
		return
	case pieces > 1 || off < h.next && h.synced:
		p.Counters.Overlapping++
	default:
		p.Counters.OutOfOrder++
	}
	if !h.waiting {
		h.waiting = true
		h.since = mark{c.count, c.now}
	}
}

// insert puts the part of a segment from one offset to another into the queue.
func (h *half) insert(i int, s *Segment, off, from, to int64, by cause, count uint32, p *Pool) {
	n := int64(len(s.Data))
	data, cost := p.hold(s.Data[min(from-off, n):min(to-off, n)])
	h.queue = append(h.queue, entry{})
	copy(h.queue[i+1:], h.queue[i:])
	h.queue[i] = entry{off: from, end: to, data: data, cost: cost, by: by, count: count}
	h.bytes += cost
	p.Held += cost
}

// drop gives the memory of an entry back.
func (h *half) drop(e *entry, p *Pool) {
	h.bytes -= e.cost
	p.Held -= e.cost
	p.release(e.data)
	e.data = nil
}

// pop removes the first entry, whose memory is kept until drop.
func (h *half) pop() entry {
	e := h.queue[0]
	h.queue[0] = entry{}
	h.queue = h.queue[1:]
	if len(h.queue) == 0 {
		h.queue = nil
	}
	return e
}

// dropBefore drops what is held of bytes before off.
func (h *half) dropBefore(off int64, p *Pool) {
	for len(h.queue) > 0 && h.queue[0].off < off {
		e := &h.queue[0]
		if e.end > off {
			e.data = e.data[min(off-e.off, int64(len(e.data))):]
			e.off = off
			return
		}
		first := h.pop()
		h.drop(&first, p)
	}
}

// Drop gives all memory back, and delivers nothing more.
func (c *Conn) Drop(p *Pool) {
	c.calm = false
	for i := range c.half {
		h := &c.half[i]
		for len(h.queue) > 0 {
			e := h.pop()
			h.drop(&e, p)
		}
		h.over, h.fin, h.rst, h.waiting, h.closed = false, false, false, false, true
	}
}
