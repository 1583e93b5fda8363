// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/session"
)

// harLog is what the tests look at of an archive.
type harLog struct {
	Log struct {
		Version string
		Entries []struct {
			StartedDateTime string
			Time            float64
			Request         struct {
				Method, URL, HTTPVersion string
				QueryString              []struct{ Name, Value string }
				PostData                 struct{ Text, Comment string }
			}
			Response struct {
				Status  int
				Content struct {
					Size                    int
					Text, Encoding, Comment string
				}
			}
			Timings struct{ Send, Wait, Receive float64 }
			Comment string
		}
	}
}

func readHAR(t *testing.T, b []byte) harLog {
	t.Helper()
	var l harLog
	if err := json.Unmarshal(b, &l); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	return l
}

func harOf(t *testing.T, opt HAROptions, play func(session.Handler)) []byte {
	t.Helper()
	var out lockedBuffer
	h := NewHAR(NewOutput(&out, Options{Lossless: true, Order: OrderGiven}), opt)
	play(h)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if n := h.keep.used.Load(); n != 0 {
		t.Errorf("%d bytes of bodies not given back", n)
	}
	return []byte(out.String())
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

func TestHARGolden(t *testing.T) {
	b := harOf(t, HAROptions{Version: "test"}, func(h session.Handler) {
		scenario(t, h)
		p := play(h, testFlow(5)).established()
		for _, s := range http2Talk(t) {
			p.data(s.side, s.data)
		}
		p.data(client, "").fin(client).fin(server).end()
	})
	readHAR(t, b)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, b, "", " "); err != nil {
		t.Fatal(err)
	}
	golden(t, "har.json", pretty.Bytes())
}

func TestHARBodies(t *testing.T) {
	answer := func(fields, body string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", len(body), fields, body)
	}
	bomb := gzipped(strings.Repeat("0", 1<<20))
	tests := []struct{ name, fields, body, text, encoding, comment string }{
		{"text", "", "plain\n", "plain\n", "", ""},
		{"binary", "", "\x00\x01", "AAE=", "base64", ""},
		{"not UTF-8", "", "\xff", "/w==", "base64", ""},
		{"gzip", "Content-Encoding: gzip\r\n", gzipped("zipped"), "zipped", "", ""},
		{"brotli", "Content-Encoding: br\r\n", "\x0b\x01", "CwE=", "base64", "the body is in its coding: br"},
		{"not gzip", "Content-Encoding: gzip\r\n", "text", "text", "", "the body is in its coding: gzip"},
		{"cut", "", strings.Repeat("x", 5000), strings.Repeat("x", 4096), "", "the first 4096 of 5000 bytes"},
	}
	for _, tt := range tests {
		b := harOf(t, HAROptions{MaxBody: 4096}, func(h session.Handler) {
			play(h, testFlow(1)).established().data(client, get).data(server, answer(tt.fields, tt.body)).end()
		})
		c := readHAR(t, b).Log.Entries[0].Response.Content
		if c.Text != tt.text || c.Encoding != tt.encoding || c.Comment != tt.comment {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}
	b := harOf(t, HAROptions{MaxBody: 4096}, func(h session.Handler) {
		play(h, testFlow(1)).established().data(client, get).data(server, answer("Content-Encoding: gzip\r\n", bomb)).end()
	})
	if c := readHAR(t, b).Log.Entries[0].Response.Content; c.Size != len(bomb) || c.Encoding != "base64" {
		t.Errorf("bomb: %d bytes, encoding %q", c.Size, c.Encoding)
	}
}

func TestHARIncomplete(t *testing.T) {
	b := harOf(t, HAROptions{}, func(h session.Handler) {
		play(h, testFlow(1)).established().data(client, "GET /x?a=b%20c&d&%zz=1 HTTP/1.1\r\nHost: h\r\n\r\n").end()
	})
	e := readHAR(t, b).Log.Entries[0]
	if e.Comment != "no response was seen" || e.Response.Status != 0 || e.Request.URL != "https://h/x?a=b%20c&d&%zz=1" {
		t.Errorf("%+v", e)
	}
	if got := fmt.Sprint(e.Request.QueryString); got != "[{a b c} {d } {%zz 1}]" {
		t.Errorf("query %s", got)
	}
}

func TestHARIsCompleteAfterEachFlush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.har")
	out, err := Create(path, Options{Lossless: true})
	if err != nil {
		t.Fatal(err)
	}
	h := NewHAR(out, HAROptions{})
	for n := range 4 {
		if n > 0 {
			play(h, testFlow(uint64(n))).established().data(client, get).data(server, "HTTP/1.1 204 x\r\n\r\n").end()
		}
		if err := h.Flush(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(readHAR(t, b).Log.Entries); got != n {
			t.Errorf("%d entries, want %d", got, n)
		}
	}
	h.Close()
	b, _ := os.ReadFile(path)
	if got := len(readHAR(t, b).Log.Entries); got != 3 {
		t.Errorf("%d entries after Close, want 3", got)
	}
}

// FuzzHAR holds that whatever the peers send, the archive and the EVE events are JSON.
func FuzzHAR(f *testing.F) {
	for _, tt := range http1Tests {
		var sides [2]string
		for _, s := range tt.steps {
			sides[s.side] += s.data
		}
		f.Add([]byte(sides[0]), []byte(sides[1]))
	}
	talk := http2Talk(f)
	f.Add([]byte(talk[0].data), []byte(talk[1].data))
	f.Add([]byte("GET /?\xff=%ff HTTP/1.1\r\nHost: \xfe\r\nCookie: a=\x00; b\r\n\r\n"),
		[]byte("HTTP/1.1 200 \xff\r\nSet-Cookie: a=b; Path=/; path=/; Secure\r\nContent-Length: 1\r\n\r\n\xff"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		talk := func(h session.Handler) {
			play(h, testFlow(1)).established().data(client, string(a)).data(server, string(b)).fin(server).end()
		}
		har := harOf(t, HAROptions{MaxBody: 64}, talk)
		if !json.Valid(har) {
			t.Fatalf("not JSON: %q", har)
		}
		var out lockedBuffer
		v := NewEVE(NewOutput(&out, Options{Lossless: true}), EVEOptions{})
		talk(v)
		v.Close()
		for line := range strings.Lines(out.String()) {
			if !json.Valid([]byte(line)) {
				t.Fatalf("not JSON: %q", line)
			}
		}
	})
}
