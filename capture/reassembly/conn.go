// SPDX-License-Identifier: Apache-2.0

package reassembly

import "github.com/sightglass/sightglass/capture/decap"

// Stream takes what a connection delivers, in order. A direction is 0 or 1, as its segments were
// given.
type Stream interface {
	// Data takes the next bytes of a direction; they are only valid during the call.
	Data(dir int, b []byte)
	// Gap says that the next n bytes of a direction are missing.
	Gap(dir, n int)
	// Fin says that a direction has ended, after all its bytes.
	Fin(dir int)
	// Reset says that the sender of a direction broke the connection.
	Reset(dir int)
}

// Segment is one TCP segment.
type Segment struct {
	Seq, Ack uint32
	Flags    decap.Flags
	Data     []byte
	Missing  int // bytes at its end that were not captured
}

// Conn is one TCP connection. The zero value has seen nothing.
type Conn struct {
	half  [2]half
	count uint32 // packets
	now   int64
	cand  candidate
	calm  bool // both directions are under way, and nothing waits
}

// mark is a point in the life of a connection.
type mark struct {
	count uint32
	time  int64
}

// half is one direction. Offsets are sequence numbers that do not wrap.
type half struct {
	next  int64 // the next byte to deliver; until synced, a reference
	start int64 // where the stream began
	acked int64 // up to where the receiver has acknowledged

	queue []entry // in order, not overlapping, all behind next
	bytes int     // held for queue

	finAt, rstAt int64 // offset of a FIN or RST that is not delivered yet
	finBy, rstBy cause

	since   mark // waiting: since when
	overAt  mark // over: since when
	isn     uint32
	lastAck uint32 // until synced: the highest acknowledgment

	placed  bool // next has some meaning
	synced  bool // next is the next byte to deliver
	syn     bool // isn is known
	seen    bool // a segment of this direction was captured
	absent  bool // given up, and never seen
	ackSeen bool
	over    bool // the receiver has acknowledged bytes that were not delivered
	waiting bool // something is held
	fin     bool // finAt is set
	rst     bool // rstAt is set
	closed  bool // ended by FIN or RST: nothing more is delivered
	reset   bool
}

// entry is a segment, or a part of one, that is held. What is beyond its data is missing.
type entry struct {
	off, end int64
	data     []byte
	cost     int
	by       cause
	count    uint32 // when it came
}

// cause is what a segment acknowledges, and so what must have been delivered before it.
type cause struct {
	ack uint32
	has bool
}

// firstOffset keeps offsets above zero when sequence numbers go back from the first one seen.
const firstOffset = 1 << 32

// place returns the offset of a sequence number: the one that is nearest to the next byte's.
func (h *half) place(seq uint32) int64 {
	if !h.placed {
		h.placed = true
		h.next = firstOffset + int64(seq)
	}
	return h.next + int64(int32(seq-uint32(h.next)))
}

// Packet takes the next segment of a direction, as captured at now, and delivers what is in order
// because of it. It copies what it keeps of s.Data.
func (c *Conn) Packet(dir int, s *Segment, now int64, p *Pool, to Stream) {
	if c.calm && c.common(dir, s, now, to) {
		return
	}
	c.packet(dir, s, now, p, to)
	c.calm = c.half[0].calm() && c.half[1].calm()
}

// common takes what nearly all segments are while nothing waits, the next bytes or none, in less than half the time. It reports
// whether s is one.
func (c *Conn) common(dir int, s *Segment, now int64, to Stream) bool {
	h, peer := &c.half[dir], &c.half[1-dir]
	ahead := int32(s.Ack - uint32(peer.next))
	if s.Flags&^decap.PSH != decap.ACK || s.Missing != 0 || ahead > 0 || len(s.Data) > 0 && s.Seq != uint32(h.next) {
		return false
	}
	c.count++
	c.now = now
	peer.acked = max(peer.acked, peer.next+int64(ahead))
	if len(s.Data) > 0 {
		h.next += int64(len(s.Data))
		h.since = mark{c.count, now}
		h.overAt = h.since
		to.Data(dir, s.Data)
	}
	return true
}

// calm reports whether a direction is under way, and nothing of it waits.
func (h *half) calm() bool { return h.synced && h.seen && !h.closed && !h.pending() }

// packet is Packet for all segments.
func (c *Conn) packet(dir int, s *Segment, now int64, p *Pool, to Stream) {
	c.count++
	c.now = now
	h, peer := &c.half[dir], &c.half[1-dir]
	h.seen, h.absent = true, false
	by := cause{s.Ack, s.Flags&decap.ACK != 0}
	if s.Flags&decap.RST != 0 {
		c.takeRST(h, s, by)
		c.run(p, to)
		return
	}
	if by.has {
		c.noteAck(1-dir, s.Ack, p, to)
	}
	off := h.place(s.Seq)
	if s.Flags&decap.SYN != 0 {
		off++
		h.takeSYN(s.Seq, off, c, p)
		if by.has && !peer.synced && !peer.seen {
			peer.sync(peer.place(s.Ack), c) // the SYN itself was not captured
		}
	}
	end := off + int64(len(s.Data)+s.Missing)
	switch {
	case end == off || h.closed:
	case off == h.next && h.synced && (len(h.queue) == 0 || end <= h.queue[0].off) &&
		(!h.fin || end <= h.finAt) && c.caused(peer, by):
		c.deliver(dir, s.Data, end, p, to)
		h.overAt = mark{c.count, c.now} // the stream goes on: it only comes late
	default:
		c.hold(h, s, off, end, by, p)
	}
	if s.Flags&decap.FIN != 0 && !h.fin && !h.closed && (!h.synced || end >= h.next) {
		h.takeFIN(end, by, p)
	}
	if c.half[0].pending() || c.half[1].pending() {
		c.run(p, to)
	}
}

// deliver hands on bytes that are next, and tells what is missing behind them up to end.
func (c *Conn) deliver(dir int, b []byte, end int64, p *Pool, to Stream) {
	h := &c.half[dir]
	if len(b) > 0 {
		h.next += int64(len(b))
		to.Data(dir, b)
	}
	if h.next < end {
		c.gap(dir, end, p, to)
	}
	c.moved(h)
}

// gap tells that the bytes up to end are missing.
func (c *Conn) gap(dir int, end int64, p *Pool, to Stream) {
	h := &c.half[dir]
	n := end - h.next
	h.next = end
	p.Counters.Gaps++
	p.Counters.Lost += uint64(n)
	to.Gap(dir, int(n))
	c.moved(h)
}

// moved keeps the marks of a direction whose next byte is another now.
func (c *Conn) moved(h *half) {
	if h.over && h.acked <= h.next {
		h.over = false
	}
	h.since = mark{c.count, c.now}
	if h.over && len(h.queue) > 0 && int32(h.queue[0].count-h.overAt.count) > 0 {
		// The acknowledgment may have been for an earlier hole. This one shows since its far side came.
		h.overAt = mark{h.queue[0].count, c.now}
	}
}

// noteAck takes the acknowledgment of a direction's bytes.
func (c *Conn) noteAck(dir int, ack uint32, p *Pool, to Stream) {
	h := &c.half[dir]
	if !h.synced {
		if !h.ackSeen || int32(ack-h.lastAck) > 0 {
			h.ackSeen, h.lastAck = true, ack
		}
		return
	}
	a := h.place(ack)
	if a <= h.acked || a-h.next >= maxSeqReach {
		return
	}
	h.acked = a
	if a <= h.next || h.closed {
		return
	}
	if h.absent {
		c.gap(dir, a, p, to) // nothing of this direction is in the capture: there is nothing to wait for
		return
	}
	if !h.over {
		h.over, h.overAt = true, mark{c.count, c.now}
	}
}

// caused reports whether all that a segment acknowledges of its receiver's bytes was delivered.
func (c *Conn) caused(peer *half, by cause) bool {
	switch {
	case !by.has || peer.closed:
		return true
	case !peer.synced:
		return false
	}
	ahead := peer.place(by.ack) - peer.next
	return ahead <= 0 || ahead >= maxSeqReach
}

// takeSYN begins the stream at off.
func (h *half) takeSYN(isn uint32, off int64, c *Conn, p *Pool) {
	if h.syn {
		return
	}
	h.syn, h.isn = true, isn
	if !h.synced {
		h.sync(off, c)
		h.dropBefore(off, p)
	}
}

// sync begins the stream at off.
func (h *half) sync(off int64, c *Conn) {
	h.start = off
	h.next, h.synced = off, true
	h.since = mark{c.count, c.now}
	h.noteLastAck(h.since)
}

// noteLastAck makes the acknowledgment count that came before the stream's beginning was known.
func (h *half) noteLastAck(m mark) {
	if !h.ackSeen {
		return
	}
	a := h.place(h.lastAck)
	if a > h.next && a-h.next < maxSeqReach {
		h.acked, h.over, h.overAt = a, true, m
	}
}

// takeFIN notes where the stream ends. What was held beyond is dropped.
func (h *half) takeFIN(end int64, by cause, p *Pool) {
	h.fin, h.finAt, h.finBy = true, end, by
	for n := len(h.queue); n > 0 && h.queue[n-1].end > end; n-- {
		e := &h.queue[n-1]
		if e.off < end {
			e.end = end
			e.data = e.data[:min(int64(len(e.data)), end-e.off)]
			return
		}
		h.drop(e, p)
		h.queue = h.queue[:n-1]
	}
}

// takeRST notes a reset, if its receiver would have believed it: it is within the window (RFC 9293,
// Section 3.10.7.4). The window is not followed; maxWindow stands for it.
func (c *Conn) takeRST(h *half, s *Segment, by cause) {
	if h.reset || h.rst {
		return
	}
	off := h.place(s.Seq)
	if h.synced {
		low := h.next
		if h.acked > 0 && h.acked < low {
			low = h.acked
		}
		if h.closed {
			low = h.next - 1 // its own FIN may not have been acknowledged
		}
		const maxWindow = 16 << 20
		if off < low || off > h.next+maxWindow {
			return
		}
	}
	h.rst, h.rstAt, h.rstBy = true, off, by
}

// pending reports whether something of this direction waits.
func (h *half) pending() bool {
	return len(h.queue) > 0 || h.over || h.fin || h.rst || h.waiting
}

// Pending reports whether something is held, so that Tick has to be called as time goes on.
func (c *Conn) Pending() bool { return !c.calm && (c.half[0].pending() || c.half[1].pending()) }

// Ended reports whether both directions have ended.
func (c *Conn) Ended() bool { return !c.calm && c.half[0].closed && c.half[1].closed }

// WasReset reports whether either side broke the connection.
func (c *Conn) WasReset() bool { return c.half[0].reset || c.half[1].reset }

// Begun reports whether the SYN of either side was captured.
func (c *Conn) Begun() bool { return c.half[0].syn || c.half[1].syn }

// Held returns the memory that holds segments, in bytes.
func (c *Conn) Held() int { return c.half[0].bytes + c.half[1].bytes }
