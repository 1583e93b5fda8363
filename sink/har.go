// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sightglass/sightglass/session"
)

// HAROptions bound what is kept of bodies. The zero value is good.
type HAROptions struct {
	// Version is the program's, for the creator field.
	Version string
	// MaxBody is how much of one body is kept, in bytes; zero is 1 MiB.
	MaxBody int
	// MaxMemory bounds the bodies of all open exchanges, in bytes; zero is 64 MiB.
	MaxMemory int
}

// HAR writes the HTTP/1 and HTTP/2 exchanges as an HTTP Archive 1.2. An entry is written when its
// exchange is complete, so memory holds the open exchanges only; a body over the limits is cut,
// with a comment. The archive is complete after each flush, where the output can be rewritten.
type HAR struct {
	base
	keep  bodyKeeper
	flows FlowTable[harFlow]
}

type harFlow struct {
	http httpFlow
	e    *session.Event // during the call
}

// NewHAR returns an archive on out.
func NewHAR(out *Output, opt HAROptions) *HAR {
	if opt.MaxBody <= 0 {
		opt.MaxBody = 1 << 20
	}
	if opt.MaxMemory <= 0 {
		opt.MaxMemory = 64 << 20
	}
	out.opt.Buffer = 1 // entries are large: the queue bounds their number
	h := &HAR{base: base{name: "har", q: out.start(harShape{version: opt.Version})}}
	h.keep.perBody, h.keep.total = opt.MaxBody, int64(opt.MaxMemory)
	return h
}

type harShape struct{ version string }

func (s harShape) head(dst []byte) []byte {
	j := jsonText{b: dst}
	j.b = append(j.b, `{"log":{"version":"1.2","creator":`...)
	j.b = append(j.b, '{')
	j.str("name", "sightglass")
	j.str("version", s.version)
	return append(j.b, `},"entries":[`+"\n"...)
}

func (harShape) before(dst []byte, _ record, first bool) []byte {
	if first {
		return dst
	}
	return append(dst, ",\n"...)
}

func (harShape) tail(dst []byte) []byte { return append(dst, "\n]}}\n"...) }

// Event reads HTTP.
func (h *HAR) Event(e *session.Event) {
	f := h.flows.Get(e.Flow.ID)
	if f == nil {
		f = &harFlow{}
		f.http.keep = &h.keep
		f.http.emit = func(x *exchange) { h.entry(f, x) }
		h.flows.Put(e.Flow.ID, f)
	}
	f.e = e
	f.http.event(e)
	f.e = nil
	if e.Kind == session.KindEnd {
		h.flows.Remove(e.Flow.ID)
	}
}

// entry writes one exchange.
func (h *HAR) entry(f *harFlow, x *exchange) {
	req, res := &x.request, &x.response
	flow := f.e.Flow
	send := max(req.end-req.begin, 0)
	wait, receive := int64(0), int64(0)
	if res.begin != 0 {
		wait, receive = max(res.begin-req.end, 0), max(res.end-res.begin, 0)
	}
	j := &jsonText{b: make([]byte, 0, 2048)}
	j.object("")
	j.str("startedDateTime", time.Unix(0, req.begin).UTC().Format("2006-01-02T15:04:05.000000Z"))
	milliseconds(j, "time", send+wait+receive)
	harRequest(j, x, harURL(x, flow, f.http.clear))
	harResponse(j, x, h.keep.perBody)
	j.object("cache")
	j.endObject()
	j.object("timings")
	milliseconds(j, "send", send)
	milliseconds(j, "wait", wait)
	milliseconds(j, "receive", receive)
	j.endObject()
	j.str("serverIPAddress", flow.Server.Addr().Unmap().WithZone("").String())
	j.str("connection", strconv.FormatUint(flow.ID, 10))
	harComment(j, x)
	j.endObject()
	h.q.put(nanos(f.e.Time), flow.ID, 0, j.b, nil, nil)
}

func milliseconds(j *jsonText, name string, ns int64) {
	j.key(name)
	j.b = strconv.AppendFloat(j.b, float64(ns)/1e6, 'f', -1, 64)
}

func harComment(j *jsonText, x *exchange) {
	switch {
	case x.pushed:
		j.str("comment", "pushed by the server")
	case !x.response.done && x.response.begin == 0:
		j.str("comment", "no response was seen")
	case !x.request.done || !x.response.done:
		j.str("comment", "the exchange was not seen to its end")
	}
}

// harURL returns the absolute URL of a request.
func harURL(x *exchange, f *session.Flow, clear bool) string {
	req := &x.request
	if strings.Contains(cutString(req.target, 16), "://") || req.method == "CONNECT" && req.authority == "" {
		return req.target
	}
	scheme := "https"
	if clear || !f.TLS {
		scheme = "http"
	}
	if req.scheme != "" {
		scheme = req.scheme
	}
	host := req.authority
	if host == "" {
		host = f.Server.String()
	}
	if !strings.HasPrefix(req.target, "/") {
		return scheme + "://" + host + "/"
	}
	return scheme + "://" + host + req.target
}

func harRequest(j *jsonText, x *exchange, u string) {
	req := &x.request
	j.object("request")
	j.str("method", req.method)
	j.str("url", u)
	j.str("httpVersion", x.version)
	harCookies(j, req, false)
	harFields(j, req)
	j.array("queryString")
	_, query, _ := strings.Cut(u, "?")
	query, _, _ = strings.Cut(query, "#")
	for n := 0; query != "" && n < maxFields; n++ {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		harPair(j, unescapeQuery(name), unescapeQuery(value))
		j.endObject()
	}
	j.endArray()
	if req.bodyLen > 0 {
		j.object("postData")
		j.str("mimeType", req.field("Content-Type"))
		j.array("params")
		j.endArray()
		if text, ok := harText(req.body); ok {
			j.str("text", text)
		} else {
			j.str("text", base64.StdEncoding.EncodeToString(req.body))
			j.str("_encoding", "base64") // HAR 1.2 has a field for responses only
		}
		harCut(j, req)
		j.endObject()
	}
	j.int("headersSize", int64(req.headLen))
	j.int("bodySize", req.bodyLen)
	j.endObject()
}

func unescapeQuery(s string) string {
	if v, err := url.QueryUnescape(s); err == nil {
		return v
	}
	return s
}

func harResponse(j *jsonText, x *exchange, limit int) {
	res := &x.response
	j.object("response")
	j.int("status", int64(res.status))
	j.str("statusText", res.reason)
	j.str("httpVersion", x.version)
	harCookies(j, res, true)
	harFields(j, res)
	j.object("content")
	harContent(j, res, limit)
	j.endObject()
	j.str("redirectURL", res.field("Location"))
	if res.begin == 0 {
		j.int("headersSize", -1)
		j.int("bodySize", -1)
	} else {
		j.int("headersSize", int64(res.headLen))
		j.int("bodySize", res.bodyLen)
	}
	j.endObject()
}

// harContent writes a response's body: decompressed where that is known and within the limit, else
// as it came, with a comment; text as text, all else in Base64.
func harContent(j *jsonText, res *httpMessage, limit int) {
	body, size := res.body, res.bodyLen
	coding := strings.ToLower(strings.TrimSpace(res.field("Content-Encoding")))
	coded := coding != "" && coding != "identity" && size > 0
	if coded && !res.cut {
		if plain, ok := decompress(coding, body, limit); ok {
			body, size, coded = plain, int64(len(plain)), false
		}
	}
	mime := res.field("Content-Type")
	if mime == "" {
		mime = "x-unknown"
	}
	j.int("size", size)
	if size != res.bodyLen {
		j.int("compression", size-res.bodyLen)
	}
	j.str("mimeType", mime)
	if len(body) > 0 {
		if text, ok := harText(body); ok {
			j.str("text", text)
		} else {
			j.str("text", base64.StdEncoding.EncodeToString(body))
			j.str("encoding", "base64")
		}
	}
	if coded && !res.cut {
		j.str("comment", "the body is in its coding: "+coding)
	} else {
		harCut(j, res)
	}
}

func harCut(j *jsonText, m *httpMessage) {
	if m.cut {
		j.str("comment", fmt.Sprintf("the first %d of %d bytes", len(m.body), m.bodyLen))
	}
}

// decompress undoes a content coding (RFC 9110, Section 8.4.1), if the result fits the limit.
func decompress(coding string, body []byte, limit int) ([]byte, bool) {
	var r io.ReadCloser
	var err error
	switch coding {
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		r, err = zlib.NewReader(bytes.NewReader(body))
	default:
		return nil, false
	}
	if err != nil {
		return nil, false
	}
	defer r.Close()
	plain, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	return plain, err == nil && len(plain) <= limit
}

// harText returns b as text, unless it is not UTF-8 or has controls that text has not.
func harText(b []byte) (string, bool) {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return "", false
		}
	}
	return string(b), utf8.Valid(b)
}

func harFields(j *jsonText, m *httpMessage) {
	j.array("headers")
	for _, f := range m.fields {
		harPair(j, f.name, f.value)
		j.endObject()
	}
	j.endArray()
}

// harPair begins an object of a name and a value.
func harPair(j *jsonText, name, value string) {
	j.object("")
	j.str("name", name)
	j.str("value", value)
}

// harCookies writes the cookies of Cookie or Set-Cookie fields (RFC 6265, Section 4).
func harCookies(j *jsonText, m *httpMessage, set bool) {
	j.array("cookies")
	for _, f := range m.fields {
		switch {
		case !set && strings.EqualFold(f.name, "Cookie"):
			for pair := range strings.SplitSeq(f.value, ";") {
				if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
					harPair(j, name, value)
					j.endObject()
				}
			}
		case set && strings.EqualFold(f.name, "Set-Cookie"):
			harSetCookie(j, f.value)
		}
	}
	j.endArray()
}

func harSetCookie(j *jsonText, s string) {
	pair, attrs, _ := strings.Cut(s, ";")
	name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
	if !ok {
		return
	}
	harPair(j, name, value)
	seen := map[string]bool{}
	for attr := range strings.SplitSeq(attrs, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(attr), "=")
		name = strings.ToLower(name)
		if seen[name] {
			continue
		}
		seen[name] = true
		switch name {
		case "path", "domain":
			j.str(name, value)
		case "httponly":
			j.bool("httpOnly", true)
		case "secure":
			j.bool("secure", true)
		}
	}
	j.endObject()
}
