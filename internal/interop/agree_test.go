// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

// agreement is traffic of real peers that sightglass and tshark both decrypt from one capture.
type agreement struct {
	name    string
	server  *peer
	serving serving
	visit   func(context.Context, *lab, visiting) visited
	v       visiting
	streams int // with plaintext; 0: one
	// unknown says why tshark 4.0 cannot read the last stream. It is a failure if it can.
	unknown string
}

func agreements() []agreement {
	mutual, anyone := serving{auth: required}, serving{}
	with := func(version handshake.Version, suite uint16, r resumption) visiting {
		return visiting{version: version, suite: suite, resume: r, certificate: true}
	}
	large := func(version handshake.Version, suite uint16) visiting {
		return visiting{version: version, suite: suite, certificate: true, path: "/large"}
	}
	files := serving{auth: required, extra: []string{"-WWW"}}
	plain := func(version handshake.Version, suite uint16) visiting {
		return visiting{version: version, suite: suite}
	}
	return []agreement{
		{name: "openssl, GCM", server: opensslPeer, serving: mutual, visit: visitOpenSSL, v: with(handshake.TLS12, 0x009c, full)},
		{name: "openssl, GCM, ticket", server: opensslPeer, serving: mutual, visit: visitOpenSSL, v: with(handshake.TLS12, 0x009d, byTicket), streams: 2},
		{name: "openssl, CBC, session ID", server: opensslPeer, serving: mutual, visit: visitOpenSSL, v: with(handshake.TLS12, 0x003d, byID), streams: 2},
		{name: "openssl, CBC, no extensions", server: opensslPeer, serving: serving{auth: required, off: emsEtM}, visit: visitOpenSSL, v: with(handshake.TLS12, 0x002f, full)},
		{name: "openssl, TLS 1.0", server: opensslPeer, serving: mutual, visit: visitOpenSSL, v: with(handshake.TLS10, 0x0035, full)},
		{name: "openssl, TLS 1.1", server: opensslPeer, serving: mutual, visit: visitOpenSSL, v: with(handshake.TLS11, 0x002f, byTicket), streams: 2},
		{name: "openssl, CCM-8", server: opensslPeer, serving: mutual, visit: visitOpenSSL, v: with(handshake.TLS12, 0xc0a0, full)},
		{name: "openssl, CAMELLIA", server: opensslPeer, serving: anyone, visit: visitOpenSSL, v: plain(handshake.TLS12, 0x0084)},
		{name: "openssl, ARIA", server: opensslPeer, serving: anyone, visit: visitOpenSSL, v: plain(handshake.TLS12, 0xc050), unknown: "its cryptographic library has no ARIA"},
		{name: "openssl, NULL", server: opensslPeer, serving: anyone, visit: visitOpenSSL, v: plain(handshake.TLS12, 0x0002)},
		{name: "openssl, renegotiated", server: opensslPeer, serving: anyone, visit: visitOpenSSLTwice, v: plain(handshake.TLS12, 0)},
		{name: "openssl, large answer, TLS 1.0", server: opensslPeer, serving: files, visit: visitOpenSSL, v: large(handshake.TLS10, 0x002f)},
		{name: "openssl, large answer, GCM", server: opensslPeer, serving: files, visit: visitOpenSSL, v: large(handshake.TLS12, 0x009d)},
		{name: "curl to nginx", server: nginxPeer, serving: mutual, visit: visitCurl, v: with(handshake.TLS12, 0x009d, byID), streams: 2},
		{name: "curl to apache, renegotiated", server: apachePeer, serving: serving{auth: late, lateSuite: 0x003d}, visit: visitCurl, v: with(handshake.TLS12, 0, full)},
		{name: "gnutls, CAMELLIA-GCM", server: gnutlsPeer, serving: mutual, visit: visitGnuTLS, v: with(handshake.TLS12, 0xc07b, full)},
		{name: "gnutls, CCM, ticket", server: gnutlsPeer, serving: mutual, visit: visitGnuTLS, v: with(handshake.TLS12, 0xc09d, byTicket)},
		{name: "gnutls, RC4", server: gnutlsPeer, serving: mutual, visit: visitGnuTLS, v: with(handshake.TLS12, 0x0005, full)},
		{name: "gnutls, renegotiated", server: gnutlsPeer, serving: mutual, visit: func(ctx context.Context, l *lab, v visiting) visited {
			return visitGnuTLSWith(ctx, l, v, "--rehandshake")
		}, v: with(handshake.TLS12, 0x009c, full)},
		{name: "java, SSL 3.0", server: javaPeer, serving: mutual, visit: visitJava, v: with(handshake.SSL30, 0x000a, full)},
		{name: "java, SSL 3.0, RC4", server: javaPeer, serving: mutual, visit: visitJava, v: with(handshake.SSL30, 0x0004, byID), streams: 2},
		{name: "java, TLS 1.0, RC4", server: javaPeer, serving: mutual, visit: visitJava, v: with(handshake.TLS10, 0x0005, full)},
		{name: "java, DES", server: javaPeer, serving: mutual, visit: visitJava, v: with(handshake.TLS11, 0x0009, full)},
		{name: "java, GCM, ticket", server: javaPeer, serving: mutual, visit: visitJava, v: with(handshake.TLS12, 0x009c, byTicket), streams: 2},
		{name: "nss, CBC", server: nssPeer, serving: mutual, visit: visitNSS, v: with(handshake.TLS12, 0x003c, full)},
		{name: "nss, SEED", server: nssPeer, serving: mutual, visit: visitNSS, v: with(handshake.TLS10, 0x0096, full)},
		{name: "nss, 3DES, session ID", server: nssPeer, serving: mutual, visit: visitNSS, v: with(handshake.TLS11, 0x000a, byID), streams: 2},
		{name: "go", server: goPeer, serving: mutual, visit: visitGo, v: with(handshake.TLS12, 0x009c, byTicket), streams: 2,
			unknown: "it looks for the session by the ticket that the server renews in the abbreviated handshake"},
	}
}

// TestTsharkAgrees decrypts a capture of many peers, and every stream of it as tshark does.
func TestTsharkAgrees(t *testing.T) {
	ctx := bound(t, 4*time.Minute)
	need(t, programsOf(peers...)...)
	need(t, wiresharks...)
	l := newLab(t)
	must(t, os.WriteFile(filepath.Join(l.dir, "large"), bytes.Repeat([]byte("a line of a large file\n"), 10_000), 0o644))
	all := agreements()
	wire, err := l.Box.Capture(nettest.BoxClientLink)
	must(t, err)
	for i := range all {
		all[i].serving.port = l.port()
		all[i].run(ctx, t, l, i%4 == 3)
	}
	mail := startSMTP(t, ctx, l)
	frames, err := wire.Stop()
	must(t, err)
	c := &comparison{t: t, ctx: ctx, dir: l.dir, file: l.path("wire.pcap"), key: l.pki.server.keyFile,
		protocols: map[uint16]string{mail.Port(): "smtp"}}
	must(t, os.WriteFile(c.file, nettest.Pcap(frames), 0o644))
	for _, a := range all {
		c.protocols[a.serving.port] = "tls"
		if a.unknown != "" {
			c.apart = append(c.apart, a.serving.port)
		}
	}
	byPort := map[uint16][]*compared{}
	for _, s := range c.compare() {
		byPort[s.server.Port()] = append(byPort[s.server.Port()], s)
	}
	all = append(all, agreement{name: "STARTTLS", serving: serving{port: mail.Port()}})
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) { a.judge(t, byPort[a.serving.port]) })
	}
}

// run makes the traffic.
func (a *agreement) run(ctx context.Context, t *testing.T, l *lab, v6 bool) {
	t.Helper()
	srv, err := a.server.serve(ctx, l, a.serving)
	if err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	defer srv.stop()
	a.v.to, a.v.path = srv.addr(v6), cmp.Or(a.v.path, latePath)
	one, cancel := context.WithTimeout(ctx, visitLimit)
	defer cancel()
	if v := a.visit(one, l, a.v); v.err != nil {
		t.Errorf("%s: %v\n%s\n%s", a.name, v.err, v.log, srv.log())
	}
}

func (a *agreement) judge(t *testing.T, streams []*compared) {
	n := 0
	for i, s := range streams {
		if len(s.ours[handshake.Client]) > 0 && len(s.ours[handshake.Server]) > 0 {
			n++
		}
		if i < len(streams)-1 {
			s.judge(t, "")
		} else {
			s.judge(t, a.unknown)
		}
	}
	if want := max(a.streams, 1); n != want {
		t.Errorf("%d streams with plaintext of both sides, want %d", n, want)
	}
}

// TestTsharkAgreesOnSharedCaptures is the same for the captures of others, where they are present.
func TestTsharkAgreesOnSharedCaptures(t *testing.T) {
	shared := filepath.Join("..", "..", "..", "shared", "captures")
	if _, err := os.Stat(shared); err != nil {
		t.Logf("no captures beside this checkout: %v", err)
		return
	}
	ctx := bound(t, 4*time.Minute)
	need(t, wiresharks...)
	for _, tt := range []struct {
		capture, key string
		streams      int // with plaintext
	}{
		{capture: "rsasnakeoil2.pcap", key: "rsasnakeoil2.key", streams: 2},
		{capture: "tls-renegotiation.pcap", key: "rsasnakeoil2.key", streams: 1},
		{capture: "firefox-tls10.pcap", key: "firefox-tls10.pem", streams: 28},
		{capture: "session-id-reuse.pcap", key: "session-id-reuse.pem", streams: 1},
		{capture: "tls12-dsb.pcapng", streams: 2},
		{capture: "tls13-rfc8446.pcap", key: "tls13-rfc8446.keys", streams: 2},
		{capture: "dhe1.pcapng.gz", key: "dhe1.keys", streams: 1},
		{capture: "smtp-ssl.pcapng", key: "smtp-ssl.keys", streams: 1},
		{capture: "pgsql-ssl.pcapng", key: "pgsql-ssl.keys", streams: 1},
		{capture: "ldap-ssl.pcapng", key: "ldap-ssl.keys", streams: 1},
		{capture: "local-base.pcap", key: "local.key", streams: 1},
		{capture: "local-vlan.pcap", key: "local.key", streams: 1},
		{capture: "local-ooo.pcap", key: "local.key", streams: 1},
		{capture: "local-ticket-resumption.pcap", key: "local.key", streams: 2},
		{capture: "local-mtls.pcap", key: "local.key", streams: 1},
	} {
		t.Run(tt.capture, func(t *testing.T) {
			c := &comparison{t: t, ctx: ctx, dir: t.TempDir(), file: filepath.Join(shared, tt.capture)}
			if tt.key != "" {
				c.key = filepath.Join(shared, tt.key)
			}
			n := 0
			for _, s := range c.compare() {
				if len(s.ours[handshake.Client])+len(s.ours[handshake.Server]) > 0 {
					n++
				}
				s.judge(t, "")
			}
			if n != tt.streams {
				t.Errorf("%d streams with plaintext, want %d", n, tt.streams)
			}
		})
	}
}
