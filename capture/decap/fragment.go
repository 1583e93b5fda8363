// SPDX-License-Identifier: Apache-2.0

package decap

// Bounds of what is kept of fragmented datagrams.
const (
	maxDatagrams     = 512
	maxFragmentBytes = 4 << 20
	maxFragments     = 1024 // of one datagram
	fragmentTimeout  = 30e9 // nanoseconds (RFC 791 and RFC 8200 say 15 to 60 seconds)
)

type fragmentKey struct {
	src, dst Addr
	id       uint32
	proto    uint8
	v4       bool
}

// span is a part of a datagram, by offsets.
type span struct{ from, to int }

// datagram is one that is being put together. Its parts are kept in order.
type datagram struct {
	key        fragmentKey
	spans      []span
	data       []byte // up to the end of the last part
	size       int    // of the whole; -1: not known
	proto      uint8  // IPv6: the next header that the first fragment gives
	first      int64
	dead       bool // fragments overlapped: the rest is ignored
	prev, next *datagram
}

// fragments keeps datagrams that are not complete, the oldest first.
type fragments struct {
	index map[fragmentKey]*datagram
	ring  datagram // sentinel: ring.next is the oldest
	bytes int
}

// reassemble takes a fragment, and goes on with the datagram if that is complete now.
//
// Fragments that overlap with other content make the whole datagram be ignored, as receivers do
// (RFC 5722; Linux does so for IPv4, too), exact duplicates are passed over, and so is a fragment
// of which not all was captured.
func (d *Decoder) reassemble(s *state, key fragmentKey, offset int, more bool) Result {
	n := len(s.b)
	switch {
	case n < s.wire:
		return Truncated
	case more && (n == 0 || n%8 != 0), offset+n > maxIPLen:
		return Malformed
	}
	f := &d.frags
	f.expire(s.now)
	g := f.get(key, s.now)
	if g.dead {
		return Fragment
	}
	if !g.add(f, s.b, offset, more) {
		f.kill(g)
		return Malformed
	}
	if offset == 0 {
		g.proto = key.proto
	}
	f.shrink(g)
	if !g.complete() {
		return Fragment
	}
	f.drop(g)
	s.b, s.wire, s.own = g.data, len(g.data), true
	return s.protocol(g.proto)
}

// add puts a part in its place. It returns false if it contradicts what is there.
func (g *datagram) add(f *fragments, b []byte, offset int, more bool) bool {
	end := offset + len(b)
	if !more {
		if g.size >= 0 && g.size != end || len(g.data) > end {
			return false
		}
		g.size = end
	} else if g.size >= 0 && end > g.size {
		return false
	}
	at := 0
	for at < len(g.spans) && g.spans[at].to <= offset {
		at++
	}
	if at < len(g.spans) && g.spans[at].from < end {
		return g.spans[at] == span{offset, end} && string(g.data[offset:end]) == string(b)
	}
	if len(b) == 0 {
		return true
	}
	if len(g.spans) >= maxFragments {
		return false
	}
	g.spans = append(g.spans, span{})
	copy(g.spans[at+1:], g.spans[at:])
	g.spans[at] = span{offset, end}
	if end > len(g.data) {
		f.bytes += g.grow(end)
	}
	copy(g.data[offset:], b)
	return true
}

// grow makes room up to end and returns how many bytes more that took.
func (g *datagram) grow(end int) int {
	before := cap(g.data)
	if end > before {
		data := make([]byte, end, min(max(2*end, 4096), maxIPLen))
		copy(data, g.data)
		g.data = data
	}
	g.data = g.data[:end]
	return cap(g.data) - before
}

// complete reports whether every part is there. Parts do not overlap, so that their sizes add up.
func (g *datagram) complete() bool {
	if g.size < 0 {
		return false
	}
	sum := 0
	for _, s := range g.spans {
		sum += s.to - s.from
	}
	return sum == g.size
}

func (f *fragments) get(key fragmentKey, now int64) *datagram {
	if f.index == nil {
		f.index = make(map[fragmentKey]*datagram)
		f.ring.prev, f.ring.next = &f.ring, &f.ring
	}
	if !key.v4 {
		// In IPv6 only the first fragment's next header counts (RFC 8200, Section 4.5).
		proto := key.proto
		key.proto = 0
		if g, ok := f.index[key]; ok {
			return g
		}
		return f.insert(&datagram{key: key, size: -1, first: now, proto: proto})
	}
	if g, ok := f.index[key]; ok {
		return g
	}
	return f.insert(&datagram{key: key, size: -1, first: now, proto: key.proto})
}

func (f *fragments) insert(g *datagram) *datagram {
	f.index[g.key] = g
	g.prev, g.next = f.ring.prev, &f.ring
	g.prev.next, g.next.prev = g, g
	return g
}

func (f *fragments) drop(g *datagram) {
	delete(f.index, g.key)
	g.prev.next, g.next.prev = g.next, g.prev
	f.bytes -= cap(g.data)
}

// kill ignores the datagram from now on.
func (f *fragments) kill(g *datagram) {
	g.dead = true
	f.bytes -= cap(g.data)
	g.data, g.spans = nil, nil
}

// expire drops the datagrams whose time is over.
func (f *fragments) expire(now int64) {
	for f.index != nil && f.ring.next != &f.ring && now-f.ring.next.first > fragmentTimeout {
		f.drop(f.ring.next)
	}
}

// shrink drops the oldest datagrams but keep until the bounds hold.
func (f *fragments) shrink(keep *datagram) {
	for len(f.index) > maxDatagrams || f.bytes > maxFragmentBytes {
		oldest := f.ring.next
		if oldest == keep {
			oldest = keep.next
		}
		if oldest == &f.ring {
			return
		}
		f.drop(oldest)
	}
}
