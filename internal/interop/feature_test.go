// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"crypto"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sightglass/sightglass/handshake"
)

// feature is something that two peers agree on beside version and suite.
type feature struct {
	name    string
	server  *peer
	serving serving
	visit   func(context.Context, *lab, visiting) visited
	version handshake.Version
	said    string // by the client: it really happened
}

// with has s_client take more arguments, and speak of what was agreed.
func with(extra ...string) func(context.Context, *lab, visiting) visited {
	return func(ctx context.Context, l *lab, v visiting) visited {
		c, err := sclient(l, v, append(extra, "-ign_eof")...)
		if err != nil {
			return visited{err: err}
		}
		p, err := l.run(ctx, v.host(l), c)
		if p == nil {
			return visited{err: err}
		}
		return visited{path: v.path, log: p.said(), err: answered(p.stdout.Bytes(), err)}
	}
}

func features(t *testing.T, l *lab) []feature {
	t.Helper()
	return []feature{
		{name: "OCSP stapling", server: opensslPeer, serving: serving{extra: []string{"-status_file", stapled(t, l)}},
			visit: with("-status"), said: "OCSP Response Status: successful"},
		{name: "ALPN", server: opensslPeer, serving: serving{extra: []string{"-alpn", "http/1.1"}},
			visit: with("-alpn", "h2,http/1.1"), said: "ALPN protocol: http/1.1"},
		{name: "NPN", server: opensslPeer, serving: serving{extra: []string{"-nextprotoneg", "http/1.1"}},
			visit: with("-nextprotoneg", "http/1.1"), said: "Next protocol: (1) http/1.1"},
		{name: "fragments of 512 bytes", server: opensslPeer, visit: with("-maxfraglen", "512")},
		{name: "record size limit", server: gnutlsPeer, visit: func(ctx context.Context, l *lab, v visiting) visited {
			return visitGnuTLSWith(ctx, l, v, "--recordsize", "600")
		}},
		{name: "empty records in TLS 1.0", server: opensslPeer, visit: visitOpenSSL, version: handshake.TLS10},
		{name: "1/n-1 split in TLS 1.0", server: nssPeer, visit: visitJava, version: handshake.TLS10},
		{name: "SSL 2.0 hello to OpenSSL", server: opensslPeer, visit: visitJavaV2, version: handshake.TLS10},
		{name: "SSL 2.0 hello to Java", server: javaPeer, visit: visitJavaV2, version: handshake.TLS12},
		{name: "false start", server: nssPeer, visit: func(ctx context.Context, l *lab, v visiting) visited {
			return visitNSSWith(ctx, l, v, "-g")
		}},
	}
}

// visitJavaV2 begins with a hello in the format of SSL 2.0, which knows no extensions.
func visitJavaV2(ctx context.Context, l *lab, v visiting) visited {
	return visitJavaWith(ctx, l, v, "protocol=SSLv2Hello,"+javaVersion(v.version))
}

// stapled makes the answer of a responder about the server's certificate.
func stapled(t *testing.T, l *lab) string {
	t.Helper()
	now := time.Now()
	answer, err := ocsp.CreateResponse(l.pki.ca.cert, l.pki.ca.cert, ocsp.Response{
		Status: ocsp.Good, SerialNumber: l.pki.server.cert.SerialNumber, ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour),
		IssuerHash: crypto.SHA1,
	}, l.pki.ca.key)
	must(t, err)
	path := l.path("staple.der")
	must(t, os.WriteFile(path, answer, 0o644))
	return path
}

// TestFeatures reads what is agreed on beside version and suite.
func TestFeatures(t *testing.T) {
	ctx := bound(t, 2*time.Minute)
	need(t, programsOf(opensslPeer, gnutlsPeer, nssPeer, javaPeer)...)
	l := newLab(t)
	b := l.inline(ctx)
	wires := l.capture()
	all := features(t, l)
	done := make([]visited, len(all))
	servers := make([]*server, len(all))
	for i, c := range all {
		c.serving.port, c.serving.auth = l.port(), required
		var err error
		servers[i], err = c.server.serve(ctx, l, c.serving)
		must(t, err)
		if c.version == 0 {
			c.version = handshake.TLS12
		}
		v := visiting{to: servers[i].addr4, path: "/feature", version: c.version, certificate: true}
		if c.version == handshake.TLS10 {
			v.suite = 0x002f // CBC, of which these are about
		}
		done[i] = c.visit(ctx, l, v)
	}
	r := b.finish()
	client, server, _ := wires.stop(t)
	sameOnBothLegs(t, client, server)
	for i, c := range all {
		t.Run(c.name, func(t *testing.T) {
			if done[i].err != nil || !strings.Contains(done[i].log, c.said) {
				t.Fatalf("%v, want %q\n%s\n%s", done[i].err, c.said, done[i].log, servers[i].log())
			}
			flows := r.to(servers[i].addr4)
			if len(flows) != 1 {
				t.Fatalf("flows: %v", flows)
			}
			wellRead(t, flows[0], true)
			read(t, r, flows[0], done[i])
			if hello := client[flows[0].name()].Payload; strings.HasPrefix(c.name, "SSL 2.0") && (hello[0]&0x80 == 0 || hello[2] != 1) {
				t.Errorf("the hello is not of SSL 2.0: % x", hello[:5])
			}
		})
	}
}
