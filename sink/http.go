// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"strings"
	"sync/atomic"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// Bounds of what is kept of HTTP, per message or per connection.
const (
	maxHead      = 64 << 10 // bytes of a start line and header, or of an HTTP/2 header block
	maxFields    = 256      // header fields kept
	maxPipelined = 64       // HTTP/1 requests that wait for a response
	maxStreams   = 1024     // open HTTP/2 streams
	maxHeld      = 1 << 20  // bytes of the headers of all open exchanges
)

// An exchange is one HTTP request and its response.
type exchange struct {
	version  string // "HTTP/1.1", "HTTP/2"
	stream   uint32 // HTTP/2
	number   uint64 // within the connection, from 0
	request  httpMessage
	response httpMessage
	pushed   bool // HTTP/2: promised by the server
	held     int  // bytes of headers kept
}

// httpMessage is a request or a response, as far as it was seen.
type httpMessage struct {
	method, target, scheme, authority string // requests
	status                            int    // responses
	reason                            string
	fields                            []httpField
	headLen                           int   // bytes of start line and header, or of the header block
	begin, end                        int64 // times; 0: not seen
	bodyLen                           int64 // bytes of the body, without chunk framing
	body                              []byte
	cut                               bool // body lacks bytes: over the limit, or lost
	done                              bool
}

type httpField struct{ name, value string }

// field returns the first value of a header field.
func (m *httpMessage) field(name string) string {
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// bodyKeeper says how much of bodies is kept, in one message and in all.
type bodyKeeper struct {
	perBody int
	total   int64
	used    atomic.Int64
}

// add counts b, and keeps it if there is room. What is kept is a prefix of the body.
func (k *bodyKeeper) add(m *httpMessage, b []byte) {
	m.bodyLen += int64(len(b))
	if k == nil {
		return
	}
	n := min(len(b), k.perBody-len(m.body))
	if m.cut {
		n = 0
	}
	if n > 0 && k.used.Add(int64(n)) > k.total {
		k.used.Add(-int64(n))
		n = 0
	}
	m.body = append(m.body, b[:n]...)
	m.cut = m.cut || n < len(b)
}

// lose counts n bytes of a body that were not seen.
func (m *httpMessage) lose(n int) {
	m.bodyLen += int64(n)
	m.cut = true
}

// release gives an exchange's room back.
func (k *bodyKeeper) release(x *exchange) {
	if k != nil {
		k.used.Add(-int64(len(x.request.body) + len(x.response.body)))
	}
	x.request.body, x.response.body = nil, nil
}

// httpReader reads one direction of a connection.
type httpReader interface {
	data(t int64, b []byte)
	gap(n int)
	fin(t int64)
}

// httpFlow finds and reads HTTP in the plaintext of one connection. What is not HTTP, or stops
// being readable as such, costs nothing more.
type httpFlow struct {
	keep *bodyKeeper
	emit func(*exchange)

	clear   bool // the connection read is a prologue
	decided bool
	sides   [2]httpReader // nil: not HTTP, or no longer
	open    func() []*exchange
	head    []byte // of the client's stream, until decided
	count   uint64
	held    int // bytes of headers of open exchanges
}

// event takes an event of the connection.
func (h *httpFlow) event(e *session.Event) {
	switch e.Kind {
	case session.KindData:
		if e.Clear != h.clear {
			h.close() // what TLS carries has nothing to do with a clear prologue
			h.clear = e.Clear
		}
		h.data(e)
	case session.KindGap:
		if h.decided && h.sides[e.Side] != nil {
			h.sides[e.Side].gap(e.Lost)
		} else {
			h.decided = true // the start is missing
		}
	case session.KindFin:
		if r := h.sides[e.Side]; r != nil {
			r.fin(nanos(e.Time))
		}
	case session.KindReset, session.KindEnd:
		h.stop()
	}
}

func (h *httpFlow) data(e *session.Event) {
	if !h.decided {
		h.decide(e)
		return
	}
	if r := h.sides[e.Side]; r != nil {
		r.data(nanos(e.Time), e.Data)
	}
}

// http2Preface begins each HTTP/2 connection (RFC 9113, Section 3.4).
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// decide looks at the head of the stream until it is known what it is.
func (h *httpFlow) decide(e *session.Event) {
	head := e.Data
	if e.Side == handshake.Client && len(h.head) > 0 {
		head = append(h.head, e.Data...)
	}
	switch {
	case e.Side == handshake.Server:
		// An HTTP/2 server may speak first, with SETTINGS on stream 0 (RFC 9113, Section 3.4).
		if len(head) >= 9 && head[0] == 0 && head[3] == frameSettings && bytes.Equal(head[5:9], make([]byte, 4)) {
			h.start2()
		}
		h.decided = true
	case bytes.HasPrefix(head, []byte(http2Preface[:min(len(head), len(http2Preface))])):
		if len(head) < len(http2Preface) {
			h.head = append([]byte(nil), head...)
			return
		}
		h.start2()
		h.decided = true
	default:
		switch looksLikeRequest(head) {
		case maybe:
			h.head = append([]byte(nil), head...)
			return
		case yes:
			h.start1()
		}
		h.decided = true
	}
	h.head = nil
	if r := h.sides[e.Side]; r != nil {
		r.data(nanos(e.Time), head)
	}
}

// done hands a complete exchange on.
func (h *httpFlow) done(x *exchange) {
	h.emit(x)
	h.held -= x.held
	h.keep.release(x)
}

// hold says whether n more bytes of headers may be kept for x, and counts them.
func (h *httpFlow) hold(x *exchange, n int) bool {
	if h.held+n > maxHeld {
		return false
	}
	h.held += n
	x.held += n
	return true
}

func (h *httpFlow) add() *exchange {
	x := &exchange{number: h.count}
	h.count++
	return x
}

// stop ends the reading of both directions; what is open is handed on as far as it was seen.
func (h *httpFlow) stop() {
	h.decided = true
	h.sides = [2]httpReader{}
	if h.open != nil {
		open := h.open
		h.open = nil
		for _, x := range open() {
			h.done(x)
		}
	}
}

// close ends the connection read; another begins.
func (h *httpFlow) close() {
	h.stop()
	h.decided, h.head = false, nil
}

type answer uint8

const (
	no answer = iota
	maybe
	yes
)

// looksLikeRequest says whether b begins with an HTTP/1 request line: a method of capital letters,
// a target, and in the first line " HTTP/1.".
func looksLikeRequest(b []byte) answer {
	b = bytes.TrimLeft(b[:min(len(b), maxHead)], "\r\n")
	line, _, whole := bytes.Cut(b, []byte{'\n'})
	n := 0
	for n < len(line) && (line[n] >= 'A' && line[n] <= 'Z' || line[n] == '-' || line[n] == '_') {
		n++
	}
	switch {
	case n == len(line) && n <= 24 && !whole:
		return maybe
	case n < 3 || n > 24 || n == len(line) || line[n] != ' ':
		return no
	case whole && !bytes.Contains(line, []byte(" HTTP/1.")):
		return no
	case whole:
		return yes
	case len(b) >= 8<<10:
		return no
	default:
		return maybe
	}
}
