// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

// way is one of the three ways in, with what came out of it.
type way struct {
	name string
	*result
	byName map[nettest.StreamKey]*flow
}

// TestThreeWays shows one and the same traffic to inline, to sniff, which listens to the same wire, and
// to decrypt, which is given a capture of it: the results are the same.
func TestThreeWays(t *testing.T) {
	ctx := bound(t, 2*time.Minute)
	need(t, "openssl", "apache2", "curl")
	l := newLab(t)
	inline := l.inline(ctx, "--steer", "nftables", "--policy", "key_exchange_not_rsa=forward,tls13=forward")
	sniff := l.beside(ctx, "listening on ", "sniff", "-i", nettest.BoxClientLink)
	wire, err := l.Box.Capture(nettest.BoxClientLink)
	must(t, err)
	visits := threeWaysTraffic(ctx, t, l)
	ways := []*way{{name: "inline", result: inline.finish()}}
	sniff.sawAll(t, len(ways[0].flows))
	ways = append(ways, &way{name: "sniff", result: sniff.finish()})
	frames, err := wire.Stop()
	must(t, err)
	file := l.path("wire.pcap")
	must(t, os.WriteFile(file, nettest.Pcap(frames), 0o644))
	decrypt := l.beside(ctx, "", "decrypt", file)
	if err := decrypt.Wait(); err != nil {
		t.Fatalf("decrypt: %v\n%s", err, decrypt.said())
	}
	ways = append(ways, &way{name: "decrypt", result: decrypt.results()})
	for _, w := range ways {
		w.index(t)
	}
	resumed := map[string]int{}
	for name, f := range ways[0].byName {
		resumed[f.Resumed]++
		for _, w := range ways[1:] {
			w.sameAs(t, ways[0], name)
		}
		visits.check(t, l, ways[0], f)
	}
	if resumed["id"] != 1 || resumed["ticket"] != 1 {
		t.Errorf("resumed: %v", resumed)
	}
	for _, w := range ways {
		if len(w.byName) != visits.flows() {
			t.Errorf("%s: %d flows, want %d", w.name, len(w.byName), visits.flows())
		}
	}
}

// beside starts another of the program's ways in the box, and waits until it says that it is ready.
func (l *lab) beside(ctx context.Context, ready string, args ...string) *box {
	l.t.Helper()
	path, err := program()
	must(l.t, err)
	b := &box{l: l, eve: l.path("eve.json"), pcapng: l.path("plain.pcapng")}
	b.process, err = l.start(l.Box, command{name: path, args: append(args,
		"--cert", l.pki.server.certFile, "--key", l.pki.server.keyFile, "--eve", b.eve, "--pcapng", b.pcapng)})
	must(l.t, err)
	if ready == "" {
		return b
	}
	if _, err := b.stderr.wait(ctx, b.process, ready, 0); err != nil {
		l.t.Fatalf("%s: %v", args[0], err)
	}
	return b
}

// sawAll waits until a box has told the end of so many flows.
func (b *box) sawAll(t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(visitLimit); time.Now().Before(end); <-tick.C {
		if text, err := os.ReadFile(b.eve); err == nil && bytes.Count(text, []byte(`"event_type":"flow"`)) >= n {
			return
		}
	}
	t.Errorf("%d flows did not end: %s", n, b.said())
}

func (w *way) index(t *testing.T) {
	t.Helper()
	w.byName = map[nettest.StreamKey]*flow{}
	for _, f := range w.flows {
		if w.byName[f.name()] != nil {
			t.Errorf("%s: two flows %v", w.name, f.name())
		}
		w.byName[f.name()] = f
	}
}

// about is all that the ways have to agree on. What inline has forwarded unread it does not look at any more.
func (f *flow) about() string {
	if f.Outcome == "unread" {
		return fmt.Sprintf("%s %q, %s %s for %q", f.Outcome, f.Cause, f.Version, f.Suite, f.sni)
	}
	alerts := 0
	for _, a := range f.Alerts {
		alerts += a.Code
	}
	return fmt.Sprintf("%s %q, %s %s for %q, server %s, client %q verified %t, resumed %s, %d handshakes, ems %t, etm %t, %s %v %v, alerts %d",
		f.Outcome, f.Cause, f.Version, f.Suite, f.sni, f.issued, f.subject, f.Verified, f.Resumed, f.Handshakes, f.EMS, f.EtM,
		f.Proto, f.urls, f.status, alerts)
}

func (w *way) sameAs(t *testing.T, first *way, name nettest.StreamKey) {
	t.Helper()
	want, got := first.byName[name], w.byName[name]
	if got == nil {
		t.Errorf("%s has no flow %v: %v", w.name, name, want)
		return
	}
	if want.about() != got.about() {
		t.Errorf("%v\n%s: %s\n%s: %s", name, first.name, want.about(), w.name, got.about())
	}
	for _, stream := range []nettest.StreamKey{name, name.Reverse()} {
		if a, b := first.said(want, stream), w.said(got, stream); !bytes.Equal(a, b) {
			t.Errorf("%v: %s read %d bytes, %s %d:\n%.200q\n%.200q", stream, first.name, len(a), w.name, len(b), a, b)
		}
	}
}

// staged are the visits of the test, by the server's port.
type staged map[uint16]*stagedVisit

type stagedVisit struct {
	name       string
	flows      int
	outcome    string // "": read
	cause      string
	handshakes int // of the last flow; 0: one
	answer     []byte
}

func (s staged) flows() (n int) {
	for _, v := range s {
		n += max(v.flows, 1)
	}
	return n
}

// threeWaysTraffic makes it: mutual TLS, a few requests, resumptions, renegotiations, a large answer, and
// what no private key opens.
func threeWaysTraffic(ctx context.Context, t *testing.T, l *lab) staged {
	t.Helper()
	big := []byte(strings.Repeat("a line of a large file, and so on\n", 1<<20/34+1))
	must(t, os.WriteFile(filepath.Join(l.dir, "big"), big, 0o644))
	mutual := serving{auth: required}
	files := serving{auth: required, extra: []string{"-WWW"}}
	v := visiting{path: latePath, version: handshake.TLS12, certificate: true}
	with := func(change func(*visiting)) visiting { v := v; change(&v); return v }
	all := staged{}
	for _, c := range []struct {
		stagedVisit
		peer    *peer
		serving serving
		visit   func(context.Context, *lab, visiting) visited
		v       visiting
	}{
		{stagedVisit{name: "request"}, opensslPeer, mutual, visitOpenSSL, v},
		{stagedVisit{name: "large answer", answer: big}, opensslPeer, files, visitOpenSSL, with(func(v *visiting) { v.path = "/big" })},
		{stagedVisit{name: "large answer, CBC", answer: big}, opensslPeer, files, visitOpenSSL,
			with(func(v *visiting) { v.path, v.suite = "/big", 0x0035 })},
		{stagedVisit{name: "session ID", flows: 2}, opensslPeer, mutual, visitOpenSSL, with(func(v *visiting) { v.resume = byID })},
		{stagedVisit{name: "ticket", flows: 2}, opensslPeer, mutual, visitOpenSSL, with(func(v *visiting) { v.resume = byTicket })},
		{stagedVisit{name: "renegotiated by the client", handshakes: 2}, opensslPeer, mutual, visitOpenSSLTwice, v},
		{stagedVisit{name: "renegotiated by the server", handshakes: 2}, apachePeer, serving{auth: late}, visitCurl, v},
		{stagedVisit{name: "ephemeral", outcome: "unread", cause: "key_exchange_not_rsa"}, opensslPeer,
			serving{auth: required, ephemeral: true}, visitOpenSSL, with(func(v *visiting) { v.ephemeral = true })},
		{stagedVisit{name: "TLS 1.3", outcome: "unread", cause: "tls13"}, opensslPeer, serving{auth: required, tls13: true}, visitOpenSSL,
			with(func(v *visiting) { v.version, v.ephemeral = handshake.TLS13, true })},
	} {
		c.serving.port = l.port()
		srv, err := c.peer.serve(ctx, l, c.serving)
		must(t, err)
		c.v.to = srv.addr(len(all)%2 == 1)
		one, cancel := context.WithTimeout(ctx, visitLimit)
		if done := c.visit(one, l, c.v); done.err != nil {
			t.Fatalf("%s: %v\n%s\n%s", c.name, done.err, done.log, srv.log())
		}
		cancel()
		all[c.serving.port] = &c.stagedVisit
	}
	return all
}

// check looks at what one way says of a flow; the others say the same.
func (s staged) check(t *testing.T, l *lab, w *way, f *flow) {
	t.Helper()
	v := s[f.server.Port()]
	if v == nil {
		t.Errorf("a flow to %v", f.server)
		return
	}
	if v.outcome != "" {
		if f.Outcome != v.outcome || f.Cause != v.cause {
			t.Errorf("%s: %v", v.name, f)
		}
		return
	}
	wellRead(t, f, true)
	server := strings.ReplaceAll(strings.ToLower(f.issued), ":", "")
	if want := fmt.Sprintf("%x", sha1.Sum(l.pki.server.cert.Raw)); server != want && f.Resumed == "no" {
		t.Errorf("%s: the server's certificate is %s, want %s", v.name, server, want)
	}
	if f.sni != serverName {
		t.Errorf("%s: the name is %q", v.name, f.sni)
	}
	if want := max(v.handshakes, 1); f.Handshakes != want {
		t.Errorf("%s: %d handshakes, want %d", v.name, f.Handshakes, want)
	}
	if answer := w.said(f, f.name().Reverse()); !bytes.HasSuffix(answer, v.answer) || len(answer) == 0 {
		t.Errorf("%s: an answer of %d bytes, want one with %d", v.name, len(answer), len(v.answer))
	}
}
