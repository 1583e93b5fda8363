// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// httpStep is some bytes of one side, a gap or an end.
type httpStep struct {
	side handshake.Side
	data string
	lost int
	fin  bool
}

func up(s string) httpStep   { return httpStep{side: client, data: s} }
func down(s string) httpStep { return httpStep{side: server, data: s} }

// readHTTP returns one line for each exchange, with the steps' bytes cut into pieces of n.
func readHTTP(steps []httpStep, n int, keep *bodyKeeper) []string {
	var got []string
	h := &httpFlow{keep: keep}
	h.emit = func(x *exchange) { got = append(got, exchangeLine(x)) }
	f := &session.Flow{ID: 1}
	now := epoch
	event := func(e session.Event) {
		e.Flow, e.Time = f, now
		now = now.Add(time.Millisecond)
		h.event(&e)
	}
	for _, s := range steps {
		switch {
		case s.lost > 0:
			event(session.Event{Kind: session.KindGap, Side: s.side, Lost: s.lost})
		case s.fin:
			event(session.Event{Kind: session.KindFin, Side: s.side})
		}
		for b := []byte(s.data); len(b) > 0; {
			k := min(n, len(b))
			event(session.Event{Kind: session.KindData, Side: s.side, Data: b[:k:k]})
			b = b[k:]
		}
	}
	event(session.Event{Kind: session.KindEnd})
	return got
}

func exchangeLine(x *exchange) string {
	part := func(m *httpMessage) string {
		s := fmt.Sprintf("%d", m.bodyLen)
		if len(m.body) > 0 {
			s += fmt.Sprintf(" %q", cutString(string(m.body), 20))
		}
		if m.cut {
			s += " cut"
		}
		if !m.done {
			s += " open"
		}
		return s
	}
	return fmt.Sprintf("%s %s %s%s [%s] %d [%s]", x.version, x.request.method, x.request.authority,
		x.request.target, part(&x.request), x.response.status, part(&x.response))
}

const get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

var http1Tests = []struct {
	name  string
	steps []httpStep
	want  []string
}{
	{"get", []httpStep{up(get), down("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")},
		[]string{`HTTP/1.1 GET h/a [0] 200 [3 "abc"]`}},
	{"keep alive, bare newlines", []httpStep{
		up("\r\n" + get), down("HTTP/1.1 200\nContent-Length: 0\n\n"),
		up("POST /b HTTP/1.1\nhost:x\ncontent-length: 2\n\nhi"), down("HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n"),
	}, []string{`HTTP/1.1 GET h/a [0] 200 [0]`, `HTTP/1.1 POST x/b [2 "hi"] 204 [0]`}},
	{"pipelined", []httpStep{up(get + get),
		down("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 404 OK\r\nContent-Length: 1\r\n\r\n2")},
		[]string{`HTTP/1.1 GET h/a [0] 200 [1 "1"]`, `HTTP/1.1 GET h/a [0] 404 [1 "2"]`}},
	{"chunked with extension and trailer", []httpStep{up(get),
		down("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n")},
		[]string{`HTTP/1.1 GET h/a [0] 200 [13 "abc0123456789"]`}},
	{"until close", []httpStep{up("GET / HTTP/1.0\r\n\r\n"), down("HTTP/1.0 200 OK\r\n\r\nbody"), {side: server, fin: true}},
		[]string{`HTTP/1.0 GET / [0] 200 [4 "body"]`}},
	{"head and interim", []httpStep{up("HEAD / HTTP/1.1\r\n\r\n"),
		down("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")},
		[]string{`HTTP/1.1 HEAD / [0] 200 [0]`}},
	{"upgrade", []httpStep{up(get), down("HTTP/1.1 101 Switching\r\n\r\n\x81\x05hello"), up("junk")},
		[]string{`HTTP/1.1 GET h/a [0] 101 [0]`}},
	{"connect", []httpStep{up("CONNECT h:443 HTTP/1.1\r\n\r\n"), down("HTTP/1.1 200 OK\r\n\r\n\x16\x03\x01")},
		[]string{`HTTP/1.1 CONNECT h:443 [0] 200 [0]`}},
	{"response before the request's end", []httpStep{
		up("PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"), down("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"), up("cd" + get),
		down("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")},
		[]string{`HTTP/1.1 PUT / [4 "abcd"] 413 [0]`, `HTTP/1.1 GET h/a [0] 200 [1 "x"]`}},
	{"no answer", []httpStep{up(get)}, []string{`HTTP/1.1 GET h/a [0] 0 [0 open]`}},
	{"lost in a body", []httpStep{up(get), down("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
		{side: server, lost: 5}, down("xy"), up(get), down("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")},
		[]string{`HTTP/1.1 GET h/a [0] 200 [10 "abc" cut]`, `HTTP/1.1 GET h/a [0] 200 [1 "x"]`}},
	{"lost in a header", []httpStep{up(get), down("HTTP/1.1 200 OK\r\nContent-Le"), {side: server, lost: 5}, down("xy")},
		[]string{`HTTP/1.1 GET h/a [0] 0 [0 open]`}},
	{"contradicting lengths", []httpStep{up(get), down("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")},
		[]string{`HTTP/1.1 GET h/a [0] 200 [0 open]`}},
	{"response is something else", []httpStep{up(get), down("HTTP/9 hello\r\n\r\n")},
		[]string{`HTTP/1.1 GET h/a [0] 0 [0 open]`}},
	{"bad chunk", []httpStep{up(get), down("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")},
		[]string{`HTTP/1.1 GET h/a [0] 200 [0 open]`}},
	{"not HTTP", []httpStep{up("EHLO there\r\n"), down("250 ok\r\n")}, nil},
	{"binary", []httpStep{up("\x00\x01\x02"), down("GET")}, nil},
	{"server first", []httpStep{down("220 hi\r\n"), up(get)}, nil},
	{"start lost", []httpStep{{side: client, lost: 3}, up(get)}, nil},
}

func TestHTTP1(t *testing.T) {
	for _, tt := range http1Tests {
		for _, n := range []int{1, 2, 7, 1 << 20} {
			got := readHTTP(tt.steps, n, &bodyKeeper{perBody: 100, total: 1000})
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("%s, in pieces of %d:\n got %s\nwant %s", tt.name, n, got, tt.want)
			}
		}
	}
}

func TestHTTPFoldedField(t *testing.T) {
	f := parseFields("A: b\r\n c\r\nD:e\r\nnone\r\n\r\nX: y")
	if len(f) != 2 || f[0].value != "b c" || f[1] != (httpField{"D", "e"}) {
		t.Errorf("%q", f)
	}
}

func TestHTTPPrologueIsApart(t *testing.T) {
	var got []string
	h := &httpFlow{}
	h.emit = func(x *exchange) { got = append(got, x.request.method+x.request.target) }
	f := &session.Flow{}
	for _, e := range []session.Event{
		{Kind: session.KindData, Clear: true, Side: client, Data: []byte("CONNECT h:1 HTTP/1.1\r\n\r\n")},
		{Kind: session.KindData, Clear: true, Side: server, Data: []byte("HTTP/1.1 200 OK\r\n\r\n")},
		{Kind: session.KindEstablished},
		{Kind: session.KindData, Side: client, Data: []byte(get)},
		{Kind: session.KindData, Side: server, Data: []byte("HTTP/1.1 204 OK\r\n\r\n")},
		{Kind: session.KindEnd},
	} {
		e.Flow = f
		h.event(&e)
	}
	if s := strings.Join(got, " "); s != "CONNECTh:1 GET/a" {
		t.Errorf("%s", s)
	}
}

func TestBodyKeeper(t *testing.T) {
	k := &bodyKeeper{perBody: 4, total: 6}
	a, b := &exchange{}, &exchange{}
	k.add(&a.request, []byte("abc"))
	k.add(&a.request, []byte("de"))
	k.add(&a.request, []byte("f"))
	if m := &a.request; string(m.body) != "abcd" || !m.cut || m.bodyLen != 6 {
		t.Errorf("%q cut %v of %d", m.body, m.cut, m.bodyLen)
	}
	k.add(&b.request, []byte("xyz")) // over the total
	if m := &b.request; len(m.body) != 0 || !m.cut {
		t.Errorf("over the total: %q", m.body)
	}
	k.release(a)
	k.add(&b.response, []byte("xyz"))
	if string(b.response.body) != "xyz" {
		t.Errorf("after release: %q", b.response.body)
	}
	k.release(b)
	if k.used.Load() != 0 {
		t.Errorf("%d bytes not given back", k.used.Load())
	}
}

// h2frame returns one HTTP/2 frame.
func h2frame(typ, flags byte, stream uint32, payload string) string {
	n := len(payload)
	b := []byte{byte(n >> 16), byte(n >> 8), byte(n), typ, flags}
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

// h2block returns a function that encodes header blocks of one direction.
func h2block(t testing.TB) func(kv ...string) string {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	return func(kv ...string) string {
		b.Reset()
		for i := 0; i < len(kv); i += 2 {
			if err := e.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]}); err != nil {
				t.Fatal(err)
			}
		}
		return b.String()
	}
}

// http2Talk is an HTTP/2 connection of a request in continued and padded frames, one with an
// interim response and trailers, a stream that is reset and a push.
func http2Talk(t testing.TB) []httpStep {
	const endStream, endHeaders = flagEndStream, flagEndHeaders
	request, response := h2block(t), h2block(t)
	post := request(":method", "POST", ":scheme", "https", ":authority", "h", ":path", "/1", "x", "y")
	up := http2Preface + h2frame(frameSettings, 0, 0, "") + h2frame(frameSettings, 1, 0, "") +
		h2frame(frameHeaders, flagPadded|flagPriority, 1, "\x05\x00\x00\x00\x00\x03"+post[:3]+"\x00\x00\x00\x00\x00") +
		h2frame(frameContinuation, endHeaders, 1, post[3:]) +
		h2frame(frameData, flagPadded, 1, "\x09hello"+strings.Repeat("\x00", 9)) +
		h2frame(frameData, endStream, 1, " you") +
		h2frame(frameHeaders, endHeaders|endStream, 3, request(":method", "GET", ":scheme", "https", ":authority", "h", ":path", "/3")) +
		h2frame(frameHeaders, endHeaders, 5, request(":method", "GET", ":scheme", "https", ":authority", "h", ":path", "/5"))
	down := h2frame(frameSettings, 0, 0, "\x00\x01\x00\x01\x00\x00") +
		h2frame(frameHeaders, endHeaders, 3, response(":status", "103")) +
		h2frame(frameHeaders, endHeaders, 3, response(":status", "200", "content-type", "text/plain")) +
		h2frame(framePush, endHeaders, 3, "\x00\x00\x00\x02"+response(":method", "GET", ":path", "/pushed")) +
		h2frame(frameData, 0, 3, "three") +
		h2frame(frameHeaders, endHeaders|endStream, 1, response(":status", "201")) +
		h2frame(frameHeaders, endHeaders|endStream, 3, response("trailer", "yes")) +
		h2frame(frameHeaders, endHeaders, 2, response(":status", "200")) +
		h2frame(frameData, flagPadded|endStream, 2, "\x03push\x00\x00\x00") +
		h2frame(frameReset, 0, 5, "\x00\x00\x00\x08") + h2frame(7, 0, 0, "\x00\x00\x00\x05\x00\x00\x00\x00")
	return []httpStep{{side: client, data: up}, {side: server, data: down}}
}

func TestHTTP2(t *testing.T) {
	want := strings.Join([]string{
		`HTTP/2 POST h/1 [9 "hello you"] 201 [0]`,
		`HTTP/2 GET h/3 [0] 200 [5 "three"]`,
		`HTTP/2 GET /pushed [0] 200 [4 "push"]`,
		`HTTP/2 GET h/5 [0 open] 0 [0 open]`,
	}, "\n")
	for _, n := range []int{1, 3, 10, 1 << 20} {
		steps := http2Talk(t)
		got := readHTTP(steps, n, &bodyKeeper{perBody: 100, total: 1000})
		if strings.Join(got, "\n") != want {
			t.Errorf("in pieces of %d:\n%s\nwant\n%s", n, strings.Join(got, "\n"), want)
		}
	}
}

func TestHTTP2ServerSpeaksFirst(t *testing.T) {
	steps := http2Talk(t)
	settings := steps[1].data[:15]
	steps[1].data = steps[1].data[15:]
	got := readHTTP(append([]httpStep{down(settings)}, steps...), 1<<20, nil)
	if len(got) != 4 {
		t.Errorf("%q", got)
	}
}

func TestHTTP2Lost(t *testing.T) {
	b := h2frame(frameData, flagEndStream, 3, strings.Repeat("x", 100))
	talk := http2Talk(t)
	at := strings.Index(talk[1].data, "three")
	steps := []httpStep{talk[0], {side: server, data: talk[1].data[:at-9] + b[:50]}, {side: server, lost: 20}, {side: server, data: b[70:]}}
	got := strings.Join(readHTTP(steps, 1<<20, nil), "\n")
	if !strings.Contains(got, "GET h/3 [0] 200 [100 cut]") {
		t.Errorf("lost inside DATA:\n%s", got)
	}
	steps = []httpStep{talk[0], {side: server, data: talk[1].data[:20]}, {side: server, lost: 20}, {side: server, data: talk[1].data[40:]}}
	for _, line := range readHTTP(steps, 1<<20, nil) {
		if !strings.HasSuffix(line, "0 [0 open]") {
			t.Errorf("lost inside a header block: %s", line)
		}
	}
}

// FuzzHTTP holds that cutting a stream into other pieces changes no exchange, that bodies are never
// longer than the limit, and that all memory is given back.
func FuzzHTTP(f *testing.F) {
	for _, tt := range http1Tests {
		var sides [2]string
		for _, s := range tt.steps {
			sides[s.side] += s.data
		}
		f.Add([]byte(sides[0]), []byte(sides[1]), uint8(3))
	}
	talk := http2Talk(f)
	f.Add([]byte(talk[0].data), []byte(talk[1].data), uint8(1))
	f.Fuzz(func(t *testing.T, a, b []byte, n uint8) {
		steps := []httpStep{up(string(a)), down(string(b)), {side: server, fin: true}}
		keep := &bodyKeeper{perBody: 16, total: 64}
		whole := readHTTP(steps, 1<<20, keep)
		pieces := readHTTP(steps, int(n%32)+1, keep)
		if keep.used.Load() != 0 {
			t.Fatalf("%d bytes of bodies not given back", keep.used.Load())
		}
		if strings.Join(whole, "\n") != strings.Join(pieces, "\n") {
			t.Fatalf("whole:\n%q\npieces:\n%q", whole, pieces)
		}
	})
}
