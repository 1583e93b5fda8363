// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// TestKeyLogIn reads what the private key does not open with the key log that a peer writes
// meanwhile, where the policy forwards it.
func TestKeyLogIn(t *testing.T) {
	ctx := bound(t, 2*time.Minute)
	need(t, "openssl", "nginx", "curl", "gnutls-cli", "gnutls-serv")
	l := newLab(t)
	log, err := l.file("growing.log", "")
	must(t, err)
	b := l.inline(ctx, "--keylog-in", log, "--policy", "tls13=forward,key_exchange_not_rsa=forward")
	wires := l.capture()
	cases := []struct {
		name    string
		server  *peer
		serving serving
		version handshake.Version
		visit   func(context.Context, *lab, visiting) visited
	}{
		{"openssl, TLS 1.3", opensslPeer, serving{tls13: true}, handshake.TLS13, withKeyLog("-keylogfile", log)},
		{"openssl, ECDHE", opensslPeer, serving{ephemeral: true}, handshake.TLS12, withKeyLog("-keylogfile", log)},
		{"openssl, RSA", opensslPeer, serving{}, handshake.TLS12, withKeyLog("-keylogfile", log)},
		{"gnutls to openssl, TLS 1.3", opensslPeer, serving{tls13: true}, handshake.TLS13, visitGnuTLS},
		{"curl to nginx, TLS 1.3", nginxPeer, serving{tls13: true}, handshake.TLS13, visitCurl},
		{"curl to nginx, ECDHE", nginxPeer, serving{ephemeral: true}, handshake.TLS12, visitCurl},
		{"go, TLS 1.3", goPeer, serving{tls13: true}, handshake.TLS13, goWithKeyLog(log)},
	}
	t.Setenv("SSLKEYLOGFILE", log) // curl's and GnuTLS's
	done := make([]visited, len(cases))
	servers := make([]*server, len(cases))
	for i, c := range cases {
		c.serving.port, c.serving.auth = l.port(), required
		servers[i], err = c.server.serve(ctx, l, c.serving)
		must(t, err)
		done[i] = c.visit(ctx, l, visiting{to: servers[i].addr4, path: "/logged", version: c.version, certificate: true, ephemeral: true})
	}
	r := b.finish()
	client, server, _ := wires.stop(t)
	sameOnBothLegs(t, client, server)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if done[i].err != nil {
				t.Fatalf("%v\n%s\n%s", done[i].err, done[i].log, servers[i].log())
			}
			flows := r.to(servers[i].addr4)
			if len(flows) != 1 {
				t.Fatalf("flows: %v", flows)
			}
			wellRead(t, flows[0], true)
			read(t, r, flows[0], done[i])
			if v := c.version.String(); flows[0].Version != v {
				t.Errorf("version %s, want %s", flows[0].Version, v)
			}
		})
	}
}

// withKeyLog visits with s_client and these arguments.
func withKeyLog(extra ...string) func(context.Context, *lab, visiting) visited {
	return func(ctx context.Context, l *lab, v visiting) visited { return visitSClient(ctx, l, v, extra...) }
}

// goWithKeyLog visits with crypto/tls, which appends to the key log.
func goWithKeyLog(path string) func(context.Context, *lab, visiting) visited {
	return func(ctx context.Context, l *lab, v visiting) visited {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return visited{err: err}
		}
		defer func() { _ = file.Close() }()
		cfg := goClientConfig(l, v)
		cfg.KeyLogWriter = file
		return visitGoOnce(ctx, l, v, cfg)
	}
}
