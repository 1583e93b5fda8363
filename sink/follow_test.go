// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sightglass/sightglass/internal/race"
	"github.com/sightglass/sightglass/session"
)

func followOf(opt FollowOptions, play func(session.Handler)) string {
	var out lockedBuffer
	f := NewFollow(NewOutput(&out, Options{Lossless: true, Order: OrderGiven}), opt)
	play(f)
	f.Close()
	return out.String()
}

func TestFollowGolden(t *testing.T) {
	for _, tt := range []struct {
		name string
		opt  FollowOptions
	}{{"follow.txt", FollowOptions{}}, {"follow-colour.txt", FollowOptions{Colour: true}}} {
		golden(t, tt.name, []byte(followOf(tt.opt, func(h session.Handler) { scenario(t, h) })))
	}
}

// body returns what Follow shows without the lines about flows.
func body(shown string) string {
	var b strings.Builder
	for line := range strings.Lines(shown) {
		if !strings.HasPrefix(line, "──") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestFollowLines(t *testing.T) {
	long := strings.Repeat("x", followPiece+10)
	tests := []struct {
		name string
		play func(p *player)
		want string
	}{
		{"lines", func(p *player) { p.data(client, "a\r\nb\n").data(server, "c\n") }, "> a\n> b\n< c\n"},
		{"a line in parts", func(p *player) { p.data(client, "a").data(client, "b\nc").data(server, "d") }, "> ab\n> c\n< d\n"},
		{"empty lines", func(p *player) { p.data(client, "\n\r\n\n") }, "> \n> \n> \n"},
		{"longer than a piece", func(p *player) { p.data(client, long+"\n") }, "> " + long + "\n"},
		{"controls", func(p *player) { p.data(client, "a\x1b]0;t\x07 long enough to be text\r\b\n") },
			"> a\\x1b]0;t\\x07 long enough to be text\\r\\x08\n"},
		{"other scripts", func(p *player) { p.data(server, "Ünïcödé 日本語 ελληνικά\n") }, "< Ünïcödé 日本語 ελληνικά\n"},
		{"bidirectional override", func(p *player) { p.data(server, "abcdefghijklmnopqrstuvwxyzabcdef\u202e\n") },
			"< abcdefghijklmnopqrstuvwxyzabcdef\\u{202e}\n"},
		{"C1 controls", func(p *player) { p.data(server, "abcdefghijklmnopqrstuvwxyz\u009b31m\n") },
			"< abcdefghijklmnopqrstuvwxyz\\u{9b}31m\n"},
		{"binary", func(p *player) { p.data(server, "\x00\x01AB").data(server, "0123456789abcdef\x00") },
			"< 00000000  00 01 41 42                                       |..AB|\n" +
				"< 00000004  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n" +
				"< 00000014  00                                                |.|\n"},
	}
	for _, tt := range tests {
		got := body(followOf(FollowOptions{}, func(h session.Handler) {
			p := play(h, testFlow(1)).established()
			tt.play(p)
			p.end()
		}))
		if got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestFollowInterleaved(t *testing.T) {
	got := followOf(FollowOptions{}, func(h session.Handler) {
		a, b := play(h, testFlow(1)), play(h, testFlow6(2))
		b.t = a.t
		a.data(client, "one ")
		b.t = a.t
		b.data(client, "two\n")
		a.t = b.t
		a.data(client, "three\n")
	})
	want := "── flow 1  10.77.1.2:40112 → 10.77.2.2:443\n> one \n" +
		"── flow 2  [2001:db8::1]:40113 → [2001:db8::2]:8443\n> two\n── flow 1\n> three\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestFollowAllocatesNothing(t *testing.T) {
	f := NewFollow(NewOutput(io.Discard, Options{Lossless: true, FlushEvery: time.Second, Buffer: 1}), FollowOptions{Colour: true})
	defer f.Close()
	p := play(f, testFlow(1)).established()
	text := session.Event{Kind: session.KindData, Side: server, Flow: p.f, Time: p.t, Data: []byte(pattern(16384))}
	hex := session.Event{Kind: session.KindData, Side: server, Flow: p.f, Time: p.t, Data: make([]byte, 16384)}
	for range 300 {
		f.Event(&text)
		f.Event(&hex)
	}
	if n := testing.AllocsPerRun(200, func() { f.Event(&text); f.Event(&hex) }); n > 0.1 && !race.Enabled {
		t.Errorf("%v allocations an event", n)
	}
}

func TestColoured(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Coloured(f) {
		t.Error("colours on what is no terminal")
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9]*m")

// FuzzFollow holds that whatever a peer sends, the terminal gets nothing but graphic characters,
// tabs, line ends and our own colours; and that text shown without escapes is the text sent.
func FuzzFollow(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte("\x1b[2J"), true)
	f.Add([]byte("\x00\xff"), []byte("\u202e\u009b\xc2"), false)
	f.Add([]byte(strings.Repeat("é", 3000)), []byte("\x9b31m"), true)
	f.Fuzz(func(t *testing.T, a, b []byte, colour bool) {
		flow := testFlow(1)
		flow.ServerName, flow.Detail, flow.Cause = string(b), string(a), session.Malformed
		got := followOf(FollowOptions{Colour: colour}, func(h session.Handler) {
			p := play(h, flow).established()
			p.data(client, string(a)).data(server, string(b)).data(server, string(a)).end()
		})
		if colour {
			got = sgr.ReplaceAllString(got, "")
		}
		if !utf8.ValidString(got) {
			t.Fatalf("not UTF-8: %q", got)
		}
		for _, r := range got {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Fatalf("%U in %q", r, got)
			}
		}
		if text := string(a); !isBinary(a) && strings.IndexFunc(text, func(r rune) bool {
			return r != '\n' && (r == '\\' || r == utf8.RuneError || !safeRune(r))
		}) < 0 && len(a) > 0 {
			want := "> " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n> ") + "\n"
			if !strings.Contains(got, want) {
				t.Fatalf("%q not shown as %q in %q", text, want, got)
			}
		}
	})
}

func TestSummaryGolden(t *testing.T) {
	for _, tt := range []struct {
		name string
		opt  SummaryOptions
	}{
		{"summary.txt", SummaryOptions{Lines: true, Table: true}},
		{"summary-colour.txt", SummaryOptions{Lines: true, Colour: true}},
	} {
		var out lockedBuffer
		tt.opt.Location = time.UTC
		s := NewSummary(NewOutput(&out, Options{Lossless: true, Order: OrderGiven}), tt.opt)
		scenario(t, s)
		s.Close()
		golden(t, tt.name, []byte(out.String()))
	}
}

func TestSummaryBoundsCertificates(t *testing.T) {
	s := NewSummary(NewOutput(io.Discard, Options{Lossless: true}), SummaryOptions{Table: true})
	for i := range maxCounted + 500 {
		f := testFlow(uint64(i))
		f.ServerChain = [][]byte{{byte(i), byte(i >> 8)}}
		f.KeySource = string(rune('a' + i))
		s.count(f)
	}
	if len(s.servers) > maxCounted+1 || s.servers[""].flows != 500 || len(s.keys) > maxCounted {
		t.Errorf("%d certificates, %d keys", len(s.servers), len(s.keys))
	}
	s.Close()
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9999: "10 kB", 999499: "999 kB", 999500: "1.0 MB",
		40_000_000: "40 MB", 1 << 63: "9223 PB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestCertificateLenient(t *testing.T) {
	der := testCert(t, "server.pem")
	whole := parseCertificate(der)
	if whole.subject == "" || whole.notAfter.IsZero() || len(whole.names) != 3 {
		t.Errorf("%+v", whole)
	}
	for n := range der { // every prefix: no panic, and nothing made up
		c := parseCertificate(der[:n])
		if c.subject != "" {
			t.Fatalf("a prefix of %d bytes has a subject", n)
		}
	}
	if got := attributeValue(30, []byte{0x00, 'A', 0x20, 0xac}); got != "A€" {
		t.Errorf("BMPString %q", got)
	}
	if got := attributeValue(20, []byte{'A', 0xe9}); got != "Aé" {
		t.Errorf("TeletexString %q", got)
	}
	if got := attributeValue(4, []byte{1, 0xab}); got != "#01ab" {
		t.Errorf("OCTET STRING %q", got)
	}
}

func TestAppendHexRowIsAligned(t *testing.T) {
	want := bytes.IndexByte(appendHexRow(nil, make([]byte, 16)), '|')
	for n := range 16 {
		if got := bytes.IndexByte(appendHexRow(nil, make([]byte, n)), '|'); got != want {
			t.Errorf("%d bytes: text at %d, want %d", n, got, want)
		}
	}
}
