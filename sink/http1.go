// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/sightglass/sightglass/handshake"
)

// http1 reads both directions of an HTTP/1 connection (RFC 9112).
type http1 struct {
	flow    *httpFlow
	waiting []*exchange // requests whose response is not complete, oldest first
	dirs    [2]http1Dir
}

// http1Dir is one direction: what it reads next, and of which message.
type http1Dir struct {
	c    *http1
	side handshake.Side
	next http1State
	line []byte // an incomplete header, or line
	left int64  // of a body or chunk, in bytes
	x    *exchange
}

type http1State uint8

const (
	readHead http1State = iota
	readBody
	readChunkSize
	readChunk
	readChunkEnd
	readTrailer
	readToEnd
)

func (h *httpFlow) start1() {
	c := &http1{flow: h}
	for side := range c.dirs {
		c.dirs[side] = http1Dir{c: c, side: handshake.Side(side)}
		h.sides[side] = &c.dirs[side]
	}
	h.open = func() []*exchange { return c.waiting }
}

func (d *http1Dir) message() *httpMessage {
	if d.side == handshake.Client {
		return &d.x.request
	}
	return &d.x.response
}

// data reads b until it is used up or the connection cannot be read on.
func (d *http1Dir) data(t int64, b []byte) {
	for len(b) > 0 && d.c.flow.sides[d.side] != nil {
		switch d.next {
		case readHead:
			b = d.head(t, b)
		case readBody, readChunk:
			b = d.body(t, b)
		case readToEnd:
			d.c.flow.keep.add(d.message(), b)
			d.message().end = t
			b = nil
		default:
			b = d.chunkLine(t, b)
		}
	}
}

// gather collects bytes up to and with an end. find returns the offset behind that end, or -1; it
// may take what is before from as searched. The result is nil while the end is missing.
func (d *http1Dir) gather(b []byte, find func(b []byte, from int) int) (whole, rest []byte) {
	if len(d.line) == 0 { // the usual case: all in one piece, nothing copied
		if n := find(b, 0); n >= 0 {
			return b[:n], b[n:]
		}
	}
	had := len(d.line)
	d.line = append(d.line, b...)
	if n := find(d.line, had); n >= 0 {
		return d.line[:n], b[n-had:]
	}
	if len(d.line) > maxHead {
		d.c.flow.stop()
	}
	return nil, nil
}

// endOfHead finds an empty line.
func endOfHead(b []byte, from int) int {
	for i := max(from-2, 0); ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1
		}
		i += n + 1
		if rest := b[i:]; len(rest) > 0 && rest[0] == '\n' {
			return i + 1
		} else if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return i + 2
		}
	}
}

// endOfLine finds the end of a line.
func endOfLine(b []byte, from int) int {
	if n := bytes.IndexByte(b[from:], '\n'); n >= 0 {
		return from + n + 1
	}
	return -1
}

func (d *http1Dir) head(t int64, b []byte) []byte {
	if len(d.line) == 0 {
		// RFC 9112, Section 2.2: empty lines before a request line are ignored.
		if b = bytes.TrimLeft(b, "\r\n"); len(b) == 0 {
			return nil
		}
	}
	whole, rest := d.gather(b, endOfHead)
	if whole == nil {
		return rest
	}
	m := httpMessage{begin: t, end: t, headLen: len(whole)}
	line, fields, _ := strings.Cut(string(whole), "\n")
	d.line = d.line[:0]
	m.fields = parseFields(fields)
	if d.side == handshake.Client {
		return d.request(&m, strings.TrimRight(line, "\r"), t, rest)
	}
	return d.response(&m, strings.TrimRight(line, "\r"), t, rest)
}

// parseFields reads header lines (RFC 9112, Section 5).
func parseFields(s string) []httpField {
	var fields []httpField
	for len(s) > 0 && len(fields) < maxFields {
		var line string
		line, s, _ = strings.Cut(s, "\n")
		line = strings.TrimRight(line, "\r")
		if line == "" {
			break
		}
		if (line[0] == ' ' || line[0] == '\t') && len(fields) > 0 { // an obsolete line fold
			last := &fields[len(fields)-1]
			last.value += " " + strings.TrimSpace(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if ok {
			fields = append(fields, httpField{name, strings.Trim(value, " \t")})
		}
	}
	return fields
}

func (d *http1Dir) request(m *httpMessage, line string, t int64, rest []byte) []byte {
	method, target, ok1 := strings.Cut(line, " ")
	at := strings.LastIndexByte(target, ' ')
	if !ok1 || at < 0 || !strings.HasPrefix(target[at+1:], "HTTP/1.") || len(d.c.waiting) >= maxPipelined {
		d.c.flow.stop()
		return nil
	}
	m.method, m.target = method, target[:at]
	m.authority = m.field("Host")
	d.x = d.c.flow.add()
	d.x.version, d.x.request = cutString(target[at+1:], 16), *m
	d.c.waiting = append(d.c.waiting, d.x)
	length, chunked, ok := bodyLength(m)
	switch {
	case !ok || !d.c.flow.hold(d.x, m.headLen):
		d.c.flow.stop()
		return nil
	case chunked:
		d.next = readChunkSize
	case length > 0:
		d.next, d.left = readBody, length
	default:
		d.complete(t)
	}
	return rest
}

func (d *http1Dir) response(m *httpMessage, line string, t int64, rest []byte) []byte {
	version, line, _ := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(line, " ")
	status, err := strconv.Atoi(code)
	if !strings.HasPrefix(version, "HTTP/1.") || err != nil || status < 100 || status > 999 {
		d.c.flow.stop()
		return nil
	}
	// A response may be complete before its request is.
	at := slices.IndexFunc(d.c.waiting, func(x *exchange) bool { return !x.response.done })
	if at < 0 {
		d.c.flow.stop()
		return nil
	}
	m.status, m.reason = status, reason
	d.x = d.c.waiting[at]
	if status/100 == 1 && status != 101 {
		return rest // interim: another follows
	}
	d.x.response = *m
	method := d.x.request.method
	if status == 101 || method == "CONNECT" && status/100 == 2 {
		d.x.response.done = true
		d.c.flow.stop() // what follows is another protocol (RFC 9110, Sections 7.8 and 9.3.6)
		return nil
	}
	length, chunked, ok := bodyLength(m)
	switch { // RFC 9112, Section 6.3
	case method == "HEAD" || status == 204 || status == 304:
		d.complete(t)
	case !ok || !d.c.flow.hold(d.x, m.headLen):
		d.c.flow.stop()
		return nil
	case chunked:
		d.next = readChunkSize
	case length > 0:
		d.next, d.left = readBody, length
	case length == 0:
		d.complete(t)
	default:
		d.next = readToEnd
	}
	return rest
}

// bodyLength returns the length of a body in bytes, -1 when nothing says it, or that it is chunked.
// Contradictions are not ok: peers may read them differently (RFC 9112, Section 6.3).
func bodyLength(m *httpMessage) (n int64, chunked, ok bool) {
	n = -1
	for _, f := range m.fields {
		switch {
		case strings.EqualFold(f.name, "Transfer-Encoding"):
			codings := strings.ToLower(f.value)
			chunked = chunked || codings == "chunked" || strings.HasSuffix(codings, ",chunked") ||
				strings.HasSuffix(codings, ", chunked")
		case strings.EqualFold(f.name, "Content-Length"):
			v, err := strconv.ParseUint(f.value, 10, 62)
			if err != nil || n >= 0 && int64(v) != n {
				return 0, false, false
			}
			n = int64(v)
		}
	}
	return n, chunked, true
}

// body takes a part of a body or chunk of known length.
func (d *http1Dir) body(t int64, b []byte) []byte {
	n := min(int64(len(b)), d.left)
	d.c.flow.keep.add(d.message(), b[:n])
	d.message().end = t
	if d.left -= n; d.left == 0 {
		if d.next == readChunk {
			d.next = readChunkEnd
		} else {
			d.complete(t)
		}
	}
	return b[n:]
}

// chunkLine takes a line of the chunked coding (RFC 9112, Section 7.1).
func (d *http1Dir) chunkLine(t int64, b []byte) []byte {
	whole, rest := d.gather(b, endOfLine)
	if whole == nil {
		return rest
	}
	line := bytes.TrimRight(whole, "\r\n")
	switch d.next {
	case readChunkEnd:
		if len(line) != 0 {
			d.c.flow.stop()
			return nil
		}
		d.next = readChunkSize
	case readTrailer:
		if len(line) == 0 {
			d.line = d.line[:0]
			d.complete(t)
			return rest
		}
	default:
		digits, _, _ := bytes.Cut(line, []byte{';'})
		n, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 62)
		if err != nil {
			d.c.flow.stop()
			return nil
		}
		if d.next, d.left = readChunk, int64(n); n == 0 {
			d.next = readTrailer
		}
	}
	d.line = d.line[:0]
	return rest
}

// complete ends a message; an exchange of which both are complete is handed on.
func (d *http1Dir) complete(t int64) {
	m := d.message()
	m.end, m.done = t, true
	d.next = readHead
	for len(d.c.waiting) > 0 {
		x := d.c.waiting[0]
		if !x.request.done || !x.response.done {
			return
		}
		d.c.waiting = slices.Delete(d.c.waiting, 0, 1)
		d.c.flow.done(x)
	}
}

// gap skips lost bytes inside a body of known length; anywhere else the reading ends.
func (d *http1Dir) gap(n int) {
	if (d.next == readBody || d.next == readChunk) && int64(n) < d.left {
		d.left -= int64(n)
		d.message().lose(n)
		return
	}
	if d.next == readToEnd {
		d.message().lose(n)
		return
	}
	d.c.flow.stop()
}

// fin completes a body that ends with the connection.
func (d *http1Dir) fin(t int64) {
	if d.next == readToEnd {
		d.complete(t)
	}
	d.c.flow.sides[d.side] = nil
}

func cutString(s string, n int) string { return s[:min(len(s), n)] }
