// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

// renegotiation is a connection with a second handshake in it.
type renegotiation struct {
	name    string
	server  *peer
	serving serving
	visit   func(context.Context, *lab, visiting) visited
	// ephemeral clients offer what the box cannot read, too.
	ephemeral bool
	// mutual handshakes prove the client's certificate, in one handshake or in both.
	mutual bool
	// refused second handshakes choose what the box cannot read.
	refused bool
}

// The paths under which Apache renegotiates, and others of no meaning.
const latePath = "/late"

func renegotiations() []renegotiation {
	asked := serving{auth: late}
	return []renegotiation{
		{name: "curl to apache, other suite", server: apachePeer, serving: serving{auth: late, lateSuite: 0x003d}, visit: visitCurl, mutual: true},
		{name: "openssl to apache", server: apachePeer, serving: asked, visit: visitOpenSSL, mutual: true},
		{name: "java to apache", server: apachePeer, serving: asked, visit: visitJava, mutual: true},
		{name: "go to java", server: javaPeer, serving: asked, visit: visitGo, mutual: true},
		{name: "gnutls by the client", server: gnutlsPeer, serving: serving{auth: required}, visit: func(ctx context.Context, l *lab, v visiting) visited {
			return visitGnuTLSWith(ctx, l, v, "--rehandshake")
		}, mutual: true},
		{name: "nss to nss", server: nssPeer, serving: asked, visit: visitNSS, mutual: true},
		{name: "openssl by the client", server: opensslPeer, visit: visitOpenSSLTwice},
		{name: "java by the client, other suite", server: opensslPeer, visit: func(ctx context.Context, l *lab, v visiting) visited {
			v.suite = 0x002f
			return visitJavaThen(ctx, l, v, javaSuites[0x009d])
		}},
		{name: "openssl to apache, refused", server: apachePeer, serving: serving{auth: late, lateSuite: 0xc02f}, visit: visitOpenSSL, ephemeral: true, refused: true},
		{name: "java to openssl, refused", server: opensslPeer, serving: serving{lateSuite: 0xc02f}, visit: func(ctx context.Context, l *lab, v visiting) visited {
			return visitJavaThen(ctx, l, v, javaEphemeral)
		}, refused: true},
	}
}

// TestRenegotiation reads second handshakes, by either side's wish, and refuses one inside the
// encrypted connection with an alert that both peers take for the other's.
func TestRenegotiation(t *testing.T) {
	ctx := bound(t, 2*time.Minute)
	need(t, programsOf(peers...)...)
	l := newLab(t)
	b := l.inline(ctx)
	wires := l.capture()
	all := renegotiations()
	done := make([]visited, len(all))
	servers := make([]*server, len(all))
	for i, c := range all {
		c.serving.port = l.port()
		var err error
		servers[i], err = c.server.serve(ctx, l, c.serving)
		must(t, err)
		one, cancel := context.WithTimeout(ctx, visitLimit)
		done[i] = c.visit(one, l, visiting{to: servers[i].addr4, path: latePath, version: handshake.TLS12, certificate: true,
			ephemeral: c.ephemeral})
		cancel()
	}
	r := b.finish()
	client, server, _ := wires.stop(t)
	for i, c := range all {
		t.Run(c.name, func(t *testing.T) {
			flows := r.to(servers[i].addr4)
			if len(flows) != 1 {
				t.Fatalf("%d flows: %v\n%s", len(flows), flows, done[i].log)
			}
			f := flows[0]
			if c.refused {
				wantSealedAlert(t, f, done[i], servers[i])
				return
			}
			if done[i].err != nil {
				t.Fatalf("%v\n%s\n%s", done[i].err, done[i].log, servers[i].log())
			}
			if f.Handshakes != 2 {
				t.Errorf("%d handshakes, want 2", f.Handshakes)
			}
			wellRead(t, f, c.mutual)
			read(t, r, f, done[i])
			for _, name := range []nettest.StreamKey{f.name(), f.name().Reverse()} {
				if err := sameStream(name, client, server); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// illegalParameter is the alert in the words of OpenSSL, JSSE and others.
var illegalParameter = regexp.MustCompile(`(?i)alert:? illegal[ _]parameter`)

// wantSealedAlert demands that both peers say that the other sent them the alert.
func wantSealedAlert(t *testing.T, f *flow, v visited, srv *server) {
	t.Helper()
	if f.Outcome != "partial" || f.Cause != "key_exchange_not_rsa" || f.Action != "alert" || f.Handshakes != 1 {
		t.Errorf("the flow: %v", f)
	}
	if v.err == nil || !illegalParameter.MatchString(v.log) {
		t.Errorf("the client did not take the alert: %v\n%s", v.err, v.log)
	}
	if !srv.logs(illegalParameter.MatchString) {
		t.Errorf("the server did not take the alert:\n%s", srv.log())
	}
}

// visitOpenSSLTwice has s_client renegotiate before it sends the request.
func visitOpenSSLTwice(ctx context.Context, l *lab, v visiting) visited {
	c, err := sclient(l, v)
	if err != nil {
		return visited{err: err}
	}
	in, out, err := os.Pipe()
	if err != nil {
		return visited{err: err}
	}
	defer func() { _ = out.Close() }()
	c.stdin = in
	p, err := l.start(v.host(l), c)
	_ = in.Close()
	if err != nil {
		return visited{err: err}
	}
	defer p.Kill()
	err = converse(ctx, p, out, v)
	// What s_client says of the session stands before the answer.
	return visited{path: v.path, log: p.said(), err: err}
}

// converse types what a person would: R, and the request when that is done.
func converse(ctx context.Context, p *process, stdin *os.File, v visiting) error {
	if _, err := p.stdout.wait(ctx, p, "Extended master secret", 0); err != nil {
		return err
	}
	if _, err := stdin.WriteString("R\n"); err != nil {
		return err
	}
	at, err := p.stderr.wait(ctx, p, "RENEGOTIATING", 0)
	if err != nil {
		return err
	}
	if _, err := p.stderr.wait(ctx, p, "depth=0", at); err != nil {
		return err
	}
	if _, err := stdin.WriteString(v.request()); err != nil {
		return err
	}
	_, err = p.stdout.wait(ctx, p, "closed\n", 0)
	return err
}
