// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

// exchange is a visit through the box, and what is to be shown of it.
type exchange struct {
	name   string
	server *server
	to     netip.AddrPort
	path   string
	done   visited
}

// TestMutual is the program's main job: real peers demand and present certificates through the box,
// which changes nothing and reads everything.
func TestMutual(t *testing.T) {
	ctx := bound(t, 2*time.Minute)
	pairs := []struct {
		name           string
		client, server *peer
	}{
		{"openssl", opensslPeer, opensslPeer},
		{"curl to nginx", curlPeer, nginxPeer},
		{"gnutls", gnutlsPeer, gnutlsPeer},
		{"go", goPeer, goPeer},
		{"java", javaPeer, javaPeer},
		{"nss", nssPeer, nssPeer},
		{"curl to apache", curlPeer, apachePeer},
	}
	need(t, programsOf(peers...)...)
	need(t, "tshark")
	l := newLab(t)
	b := l.inline(ctx, "--steer", "nftables")
	wires := l.capture()
	var all []*exchange
	for _, pair := range pairs {
		srv, err := pair.server.serve(ctx, l, serving{port: l.port(), auth: required})
		must(t, err)
		for _, v6 := range []bool{false, true} {
			e := &exchange{name: pair.name + "/" + family(srv.addr(v6).Addr()), server: srv, to: srv.addr(v6)}
			e.path = "/" + map[bool]string{false: "four", true: "six"}[v6]
			one, cancel := context.WithTimeout(ctx, visitLimit)
			e.done = pair.client.visit(one, l, visiting{to: e.to, path: e.path, version: handshake.TLS12, certificate: true})
			cancel()
			all = append(all, e)
		}
	}
	r := b.finish()
	client, server, frames := wires.stop(t)
	t.Run("bytes", func(t *testing.T) { sameOnBothLegs(t, client, server) })
	shark := &sharks{l: l, b: b, frames: frames}
	plain, opened := shark.plaintext(ctx), shark.opened(ctx)
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			f := e.check(t, r)
			if f == nil {
				return
			}
			if server[f.name()] == nil {
				t.Errorf("%v is not on the server's leg", f.name())
			}
			plain.check(t, f.name(), e.path)
			opened.check(t, f.name(), e.path)
		})
	}
}

// family names an address's family.
func family(a netip.Addr) string {
	if a.Is6() {
		return "IPv6"
	}
	return "IPv4"
}

// check compares what the box read with what the peers saw, and returns the flow.
func (e *exchange) check(t *testing.T, r *result) *flow {
	t.Helper()
	if e.done.err != nil {
		t.Fatalf("%v\n%s\n%s", e.done.err, e.done.log, e.server.log())
	}
	flows := r.to(e.to)
	if len(flows) != 1 {
		t.Fatalf("%d flows to %v: %v", len(flows), e.to, flows)
	}
	f := flows[0]
	wellRead(t, f, true)
	read(t, r, f, e.done)
	return f
}

// wellRead checks that EVE says the flow was read, and whose certificate was proved.
func wellRead(t reporter, f *flow, mutual bool) {
	t.Helper()
	if f.Outcome != "read" || f.Cause != "" {
		t.Errorf("the flow was not read: %v", f)
	}
	if mutual && (f.subject != "CN="+clientSubject+", OU=client" && f.subject != "OU=client, CN="+clientSubject || !f.Verified) {
		t.Errorf("the client's certificate: subject %q, verified %t", f.subject, f.Verified)
	}
	if !mutual && f.subject != "" {
		t.Errorf("a client certificate, %q, that was not asked for", f.subject)
	}
}

// read compares the plaintext with what the client sent and saw.
func read(t reporter, r *result, f *flow, v visited) {
	t.Helper()
	request, answer := r.said(f, f.name()), r.said(f, f.name().Reverse())
	if line := "GET " + v.path + " HTTP/1."; !bytes.HasPrefix(request, []byte(line)) {
		t.Errorf("the request as read: %q, want %q", request, line)
	}
	if v.answer != nil && !bytes.Equal(answer, v.answer) {
		t.Errorf("the answer as read, %d bytes:\n%q\nis not what the client saw, %d bytes:\n%q", len(answer), answer, len(v.answer), v.answer)
	}
	if v.answer == nil && !bytes.HasPrefix(answer, []byte("HTTP/1.")) {
		t.Errorf("the answer as read: %q", answer)
	}
	if len(f.urls) != 1 || f.urls[0] != v.path || f.status[0] != 200 {
		t.Errorf("HTTP in EVE: %v %v, want %s and 200", f.urls, f.status, v.path)
	}
}

// sharks asks tshark about what the box wrote and what was captured.
type sharks struct {
	l      *lab
	b      *box
	frames []nettest.Frame
}

// reporter takes what a check finds wrong.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}
