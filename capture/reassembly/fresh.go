// SPDX-License-Identifier: Apache-2.0

package reassembly

import "github.com/sightglass/sightglass/capture/decap"

// Belonging says which connection a segment belongs to.
type Belonging uint8

// What Belongs returns.
const (
	Same   Belonging = iota // this connection
	New                     // another one of the same addresses and ports, which begins now
	Ignore                  // neither, as far as can be told yet
)

// candidate is the SYN of a connection that may take this one's place.
type candidate struct {
	isn uint32
	dir int8
	set bool
}

// maxReordered is how far a late SYN may be from what was captured before it, in bytes.
const maxReordered = 1 << 20

// Belongs says whether a segment is of this connection, or of another one that has its ports. A SYN
// alone does not end a connection that lives: anyone can send one, and the peer answers it with a
// challenge (RFC 9293, Section 3.10.7.4). It does when the connection had ended, or when the other
// side agrees to it.
func (c *Conn) Belongs(dir int, s *Segment) Belonging {
	if !c.cand.set && s.Flags&decap.SYN == 0 {
		return Same
	}
	return c.belongs(dir, s)
}

func (c *Conn) belongs(dir int, s *Segment) Belonging {
	if s.Flags&decap.SYN == 0 || s.Flags&decap.RST != 0 {
		return c.belongsData(dir, s)
	}
	h, peer := &c.half[dir], &c.half[1-dir]
	if h.sameSYN(s.Seq) {
		return Same
	}
	ended := c.Ended() || c.WasReset() || h.rst || peer.rst
	switch {
	case ended || !peer.seen:
		return New
	case s.Flags&decap.ACK == 0:
		c.cand = candidate{isn: s.Seq, dir: int8(dir), set: true}
		return Ignore
	case c.cand.set && int(c.cand.dir) == 1-dir && s.Ack == c.cand.isn+1:
		return New
	}
	return Ignore
}

// sameSYN reports whether a SYN is, or may be, the one that began this direction.
func (h *half) sameSYN(isn uint32) bool {
	switch {
	case h.syn:
		return h.isn == isn
	case h.synced:
		return uint32(h.start) == isn+1
	case !h.placed:
		return true
	case len(h.queue) == 0:
		return true
	}
	ahead := h.queue[0].off - h.place(isn+1)
	return ahead >= 0 && ahead <= maxReordered
}

// belongsData looks for the first segment after a candidate's SYN, where the side that would have
// answered it is not in the capture.
func (c *Conn) belongsData(dir int, s *Segment) Belonging {
	if !c.cand.set || int(c.cand.dir) != dir || s.Seq != c.cand.isn+1 {
		return Same
	}
	h := &c.half[dir]
	if c.half[1-dir].absent && h.synced && h.place(s.Seq) != h.next {
		return New
	}
	return Same
}

// Past is what is kept of a connection that has ended, to know its late segments by.
type Past struct {
	isn [2]uint32
	syn [2]bool
}

// Past returns what to keep of the connection.
func (c *Conn) Past() (p Past) {
	for i := range c.half {
		p.isn[i], p.syn[i] = c.half[i].isn, c.half[i].syn
	}
	return p
}

// Belongs says whether a segment is a late one, or begins another connection.
func (p *Past) Belongs(dir int, s *Segment) Belonging {
	if s.Flags&(decap.SYN|decap.RST) == decap.SYN && (!p.syn[dir] || p.isn[dir] != s.Seq) {
		return New
	}
	return Same
}
