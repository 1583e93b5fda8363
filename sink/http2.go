// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/sightglass/sightglass/handshake"
)

// The frame types and flags of HTTP/2 that matter here (RFC 9113, Section 6).
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePush         = 5
	frameContinuation = 9

	flagEndStream  = 1
	flagEndHeaders = 4
	flagPadded     = 8
	flagPriority   = 32

	settingTableSize = 1
	maxTableSize     = 1 << 20 // of a header compression table, in bytes
)

// http2 reads both directions of an HTTP/2 connection (RFC 9113).
type http2 struct {
	flow    *httpFlow
	streams map[uint32]*exchange
	dirs    [2]http2Dir
}

// http2Dir is one direction.
type http2Dir struct {
	c       *http2
	side    handshake.Side
	preface int // bytes of the client's preface still to come
	head    [9]byte
	headLen int
	left    int    // of the frame's payload
	payload []byte // of a frame that is read whole
	pad     int    // of a DATA frame: bytes of padding, -1 until known

	decoder *hpack.Decoder
	block   []byte // a header block in progress
	blockOf uint32 // its stream; 0: none
	blockBy byte   // flags of the frame that began it
	pushed  uint32 // the promised stream, if it is PUSH_PROMISE's
	fields  []httpField
	size    int
}

func (h *httpFlow) start2() {
	c := &http2{flow: h, streams: map[uint32]*exchange{}}
	for side := range c.dirs {
		d := &c.dirs[side]
		*d = http2Dir{c: c, side: handshake.Side(side)}
		d.decoder = hpack.NewDecoder(4096, d.field)
		d.decoder.SetMaxStringLength(maxHead)
		h.sides[side] = d
	}
	c.dirs[handshake.Client].preface = len(http2Preface)
	h.open = c.open
}

// open returns the streams that are not complete, in order.
func (c *http2) open() []*exchange {
	var all []*exchange
	for _, id := range slices.Sorted(maps.Keys(c.streams)) {
		all = append(all, c.streams[id])
	}
	return all
}

func (d *http2Dir) field(f hpack.HeaderField) {
	d.size += len(f.Name) + len(f.Value)
	if len(d.fields) < maxFields && d.size <= maxHead {
		d.fields = append(d.fields, httpField{f.Name, f.Value})
	}
}

// data reads b until it is used up or the connection cannot be read on.
func (d *http2Dir) data(t int64, b []byte) {
	n := min(d.preface, len(b))
	d.preface -= n
	b = b[n:]
	for len(b) > 0 && d.c.flow.sides[d.side] != nil {
		if d.headLen < len(d.head) {
			n := copy(d.head[d.headLen:], b)
			d.headLen += n
			b = b[n:]
			if d.headLen == len(d.head) {
				d.begin(t)
			}
			continue
		}
		n := min(d.left, len(b))
		d.take(t, b[:n])
		b = b[n:]
		if d.left -= n; d.left == 0 && d.c.flow.sides[d.side] != nil {
			d.end(t)
		}
	}
}

func (d *http2Dir) typ() byte      { return d.head[3] }
func (d *http2Dir) flags() byte    { return d.head[4] }
func (d *http2Dir) stream() uint32 { return binary.BigEndian.Uint32(d.head[5:]) & (1<<31 - 1) }

// begin looks at a frame's header.
func (d *http2Dir) begin(t int64) {
	d.left = int(d.head[0])<<16 | int(d.head[1])<<8 | int(d.head[2])
	d.payload = d.payload[:0]
	d.pad = 0
	if d.typ() == frameData && d.flags()&flagPadded != 0 {
		d.pad = -1
	}
	// Only CONTINUATION of the same stream may follow an open header block (RFC 9113, Section 6.10).
	if d.blockOf != 0 && (d.typ() != frameContinuation || d.stream() != d.blockOf) || d.whole() && d.left > maxHead {
		d.c.flow.stop()
		return
	}
	if d.left == 0 {
		d.end(t)
	}
}

// whole says that the frame is needed in one piece.
func (d *http2Dir) whole() bool {
	switch d.typ() {
	case frameHeaders, frameSettings, framePush, frameContinuation:
		return true
	}
	return false
}

// take takes a part of a frame's payload.
func (d *http2Dir) take(t int64, b []byte) {
	switch {
	case d.whole():
		d.payload = append(d.payload, b...)
	case d.typ() == frameData:
		left := d.left // with b
		if d.pad < 0 { // the first byte says how many at the end are padding (Section 6.1)
			d.pad, b = int(b[0]), b[1:]
			if left--; d.pad > left {
				d.c.flow.stop()
				return
			}
		}
		if n := min(len(b), left-d.pad); n > 0 {
			d.body(t, b[:n])
		}
	}
}

func (d *http2Dir) body(t int64, b []byte) {
	if x := d.c.streams[d.stream()]; x != nil {
		m := d.message(x)
		d.c.flow.keep.add(m, b)
		m.end = t
	}
}

func (d *http2Dir) message(x *exchange) *httpMessage {
	if d.side == handshake.Client {
		return &x.request
	}
	return &x.response
}

// end acts on a complete frame.
func (d *http2Dir) end(t int64) {
	d.headLen = 0
	switch d.typ() {
	case frameData:
		if d.flags()&flagEndStream != 0 {
			d.complete(d.stream(), t)
		}
	case frameHeaders, framePush:
		d.beginBlock(t)
	case frameContinuation:
		if d.blockOf == 0 || len(d.block)+len(d.payload) > maxHead {
			d.c.flow.stop()
			return
		}
		d.block = append(d.block, d.payload...)
		d.endBlock(t)
	case frameSettings:
		d.settings()
	case frameReset:
		if x := d.c.streams[d.stream()]; x != nil {
			delete(d.c.streams, d.stream())
			d.c.flow.done(x)
		}
	}
}

// settings lets the other direction's compression table grow to what this side allows.
func (d *http2Dir) settings() {
	for p := d.payload; len(p) >= 6; p = p[6:] {
		if binary.BigEndian.Uint16(p) == settingTableSize {
			n := max(4096, min(binary.BigEndian.Uint32(p[2:]), maxTableSize))
			d.c.dirs[d.side.Opposite()].decoder.SetAllowedMaxDynamicTableSize(n)
		}
	}
}

// beginBlock takes the first frame of a header block (RFC 9113, Sections 6.2 and 6.6).
func (d *http2Dir) beginBlock(t int64) {
	p, pad := d.payload, 0
	skip := 0
	if d.flags()&flagPadded != 0 && len(p) > 0 {
		pad, p = int(p[0]), p[1:]
	}
	d.pushed = 0
	switch {
	case d.typ() == framePush:
		if skip = 4; len(p) >= 4 {
			d.pushed = binary.BigEndian.Uint32(p) & (1<<31 - 1)
		}
	case d.flags()&flagPriority != 0:
		skip = 5
	}
	if len(p) < skip+pad || d.stream() == 0 {
		d.c.flow.stop()
		return
	}
	d.block = append(d.block[:0], p[skip:len(p)-pad]...)
	d.blockOf, d.blockBy = d.stream(), d.flags()
	d.endBlock(t)
}

// endBlock decodes a header block once it is complete. A block that cannot be decoded leaves the
// compression table unknown, and so ends the reading.
func (d *http2Dir) endBlock(t int64) {
	if d.flags()&flagEndHeaders == 0 {
		return
	}
	d.fields, d.size = nil, 0
	_, err := d.decoder.Write(d.block)
	if err == nil {
		err = d.decoder.Close()
	}
	if err != nil {
		d.c.flow.stop()
		return
	}
	id := d.blockOf
	d.blockOf = 0
	if d.pushed != 0 {
		d.promise(t)
		return
	}
	d.headers(id, t)
	if d.blockBy&flagEndStream != 0 {
		d.complete(id, t)
	}
}

// promise opens the stream that a server will answer unasked.
func (d *http2Dir) promise(t int64) {
	if x := d.newStream(d.pushed); x != nil && d.side == handshake.Server {
		x.pushed = true
		d.setHeader(x, &x.request, t)
		x.request.done, x.request.end = true, t
	}
}

func (d *http2Dir) newStream(id uint32) *exchange {
	if len(d.c.streams) >= maxStreams || d.c.streams[id] != nil {
		return nil
	}
	x := d.c.flow.add()
	x.version, x.stream = "HTTP/2", id
	d.c.streams[id] = x
	return x
}

// headers takes a decoded header block: of a request, a response or trailers.
func (d *http2Dir) headers(id uint32, t int64) {
	x := d.c.streams[id]
	if x == nil {
		if d.side == handshake.Server {
			return // of a stream that was reset, or not followed
		}
		if x = d.newStream(id); x == nil {
			return
		}
	}
	m := d.message(x)
	m.end = t
	if m.begin == 0 || m.status/100 == 1 {
		d.setHeader(x, m, t)
	}
}

// setHeader sets a message's header from the decoded fields (RFC 9113, Section 8.3). A few bytes of
// a block can stand for many of the compression table: what is kept is bounded by their number.
func (d *http2Dir) setHeader(x *exchange, m *httpMessage, t int64) {
	m.begin, m.end, m.headLen = t, t, len(d.block)
	m.fields = m.fields[:0]
	if !d.c.flow.hold(x, min(d.size, maxHead)) {
		return
	}
	for _, f := range d.fields {
		switch f.name {
		case ":method":
			m.method = f.value
		case ":scheme":
			m.scheme = f.value
		case ":authority":
			m.authority = f.value
		case ":path":
			m.target = f.value
		case ":status":
			m.status, _ = strconv.Atoi(cutString(f.value, 3))
		default:
			if !strings.HasPrefix(f.name, ":") {
				m.fields = append(m.fields, f)
			}
		}
	}
	if m.authority == "" {
		m.authority = m.field("host")
	}
}

// complete ends one side's message of a stream.
func (d *http2Dir) complete(id uint32, t int64) {
	x := d.c.streams[id]
	if x == nil {
		return
	}
	m := d.message(x)
	m.end, m.done = t, true
	if x.request.done && x.response.done {
		delete(d.c.streams, id)
		d.c.flow.done(x)
	}
}

// gap skips lost bytes inside a DATA frame; anywhere else the reading ends.
func (d *http2Dir) gap(n int) {
	if d.headLen == len(d.head) && d.typ() == frameData && d.pad >= 0 && n < d.left {
		d.left -= n
		if x := d.c.streams[d.stream()]; x != nil {
			d.message(x).lose(n)
		}
		return
	}
	d.c.flow.stop()
}

func (d *http2Dir) fin(int64) { d.c.flow.sides[d.side] = nil }
