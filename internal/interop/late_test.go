// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

// lateTLS is a connection on which TLS starts after something else.
type lateTLS struct {
	name string
	run  func(*testing.T, context.Context, *lab) netip.AddrPort
	// client and server are how what they sent begins, as read.
	client, server string
	end            string // how what the server sent ends
}

var lateStarts = []lateTLS{
	{name: "SMTP", run: startSMTP, client: "EHLO ", server: "220 tiny\r\n250-tiny\r\n250 STARTTLS\r\n220 go on\r\n250 noted: ", end: "221 bye\r\n"},
	{name: "CONNECT", run: startConnect, client: "CONNECT ", server: "HTTP/1.1 200 Connected\r\n\r\nHTTP/1.1 200 OK\r\n", end: strings.TrimSpace(page)},
	{name: "PROXY 1", run: func(t *testing.T, ctx context.Context, l *lab) netip.AddrPort { return startProxied(t, ctx, l, proxy1) },
		client: proxy1 + "GET /proxied ", server: "HTTP/1.0 200 OK"},
	{name: "PROXY 2", run: func(t *testing.T, ctx context.Context, l *lab) netip.AddrPort { return startProxied(t, ctx, l, proxy2) },
		client: proxy2 + "GET /proxied ", server: "HTTP/1.0 200 OK"},
}

// Headers as a load balancer puts them before a connection (PROXY protocol, versions 1 and 2).
const (
	proxy1 = "PROXY TCP4 203.0.113.7 198.51.100.2 51234 443\r\n"
	proxy2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc6\x33\x64\x02\xc8\x22\x01\xbb"
)

// TestLateStart reads TLS that starts after a plaintext prologue, and the prologue with it.
func TestLateStart(t *testing.T) {
	ctx := bound(t, 2*time.Minute)
	need(t, "openssl", "curl", "nginx")
	l := newLab(t)
	b := l.inline(ctx)
	wires := l.capture()
	servers := make([]netip.AddrPort, len(lateStarts))
	for i, c := range lateStarts {
		t.Run(c.name, func(t *testing.T) { servers[i] = c.run(t, ctx, l) })
	}
	r := b.finish()
	client, server, _ := wires.stop(t)
	sameOnBothLegs(t, client, server)
	for i, c := range lateStarts {
		t.Run(c.name+", as read", func(t *testing.T) {
			flows := r.to(servers[i])
			if len(flows) != 1 || flows[0].Outcome != "read" || flows[0].Suite == "" {
				t.Fatalf("flows: %v", flows)
			}
			if got := r.said(flows[0], flows[0].name()); !bytes.HasPrefix(got, []byte(c.client)) {
				t.Errorf("the client's side as read: %q", got)
			}
			got := r.said(flows[0], flows[0].name().Reverse())
			if !bytes.HasPrefix(got, []byte(c.server)) || !bytes.HasSuffix(got, []byte(c.end)) {
				t.Errorf("the server's side as read: %q", got)
			}
		})
	}
}

// startSMTP has s_client upgrade a connection to a tiny mail server.
func startSMTP(t *testing.T, ctx context.Context, l *lab) netip.AddrPort {
	at, done := l.accept(t, func(c net.Conn) error { return tinySMTP(c, goServerConfig(l, serving{auth: required})) })
	v := visiting{to: at, version: handshake.TLS12, certificate: true}
	c, err := sclient(l, v, "-starttls", "smtp", "-quiet")
	must(t, err)
	c.stdin = strings.NewReader("NOOP after the upgrade\r\nQUIT\r\n")
	p, err := l.run(ctx, l.Client, c)
	if err != nil || !strings.Contains(p.stdout.String(), "noted: NOOP after the upgrade") {
		t.Errorf("%v\n%s", err, p.said())
	}
	done()
	return at
}

// tinySMTP knows the words that s_client says, and repeats others.
func tinySMTP(c net.Conn, cfg *tls.Config) error {
	conn, in := c, bufio.NewReader(c)
	if _, err := io.WriteString(c, "220 tiny\r\n"); err != nil {
		return err
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSpace(line)
		answer := "250 noted: " + line + "\r\n"
		switch {
		case strings.HasPrefix(line, "EHLO"):
			answer = "250-tiny\r\n250 STARTTLS\r\n"
		case line == "STARTTLS":
			answer = "220 go on\r\n"
		case line == "QUIT":
			answer = "221 bye\r\n"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return err
		}
		switch line {
		case "STARTTLS":
			conn = tls.Server(c, cfg)
			in = bufio.NewReader(conn)
		case "QUIT":
			return conn.Close()
		}
	}
}

// startConnect has curl reach nginx through a proxy in the server host.
func startConnect(t *testing.T, ctx context.Context, l *lab) netip.AddrPort {
	srv, err := serveNginx(ctx, l, serving{port: l.port(), auth: required})
	must(t, err)
	at, done := l.accept(t, func(c net.Conn) error { return tinyProxy(c, l, srv.addr4) })
	host := netip.AddrPortFrom(nettest.Server4, srv.addr4.Port()).String()
	p, err := l.run(ctx, l.Client, command{name: "curl", args: []string{
		"--silent", "--show-error", "--http1.1", "--header", "Connection: close", "--tls-max", "1.2", "--ciphers", opensslRSA,
		"--proxy", "http://" + at.String(), "--proxytunnel", "--cacert", l.pki.ca.certFile,
		"--cert", l.pki.client.certFile, "--key", l.pki.client.keyFile, "https://" + host + "/through",
	}})
	if err != nil || !strings.Contains(p.stdout.String(), strings.TrimSpace(page)) {
		t.Errorf("%v\n%s", err, p.said())
	}
	done()
	return at
}

// tinyProxy answers one CONNECT and passes on what follows, whatever was asked for.
func tinyProxy(c net.Conn, l *lab, to netip.AddrPort) error {
	in := bufio.NewReader(c)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			return err
		}
	}
	next, err := l.Server.Dial("tcp", to.String())
	if err != nil {
		return err
	}
	defer func() { _ = next.Close() }()
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connected\r\n\r\n"); err != nil {
		return err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(next, in)
		_ = next.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(c, next)
	_ = c.(*net.TCPConn).CloseWrite() // curl may have left, with a reset, when it had what it wanted
	<-sent
	return nil
}

// startProxied connects with a PROXY header in front, which the server takes away.
func startProxied(t *testing.T, ctx context.Context, l *lab, header string) netip.AddrPort {
	at, done := l.accept(t, func(c net.Conn) error {
		if err := expect(c, header); err != nil {
			return err
		}
		conn := tls.Server(c, goServerConfig(l, serving{auth: required}))
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			return err
		}
		_, err := fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\n\r\n%s", page)
		return errors.Join(err, conn.Close())
	})
	c := l.connect(t, at)
	_, err := io.WriteString(c, header)
	must(t, err)
	v := visiting{to: at, path: "/proxied", version: handshake.TLS12, certificate: true}
	if d := goRequest(ctx, c, v, goClientConfig(l, v)); d.err != nil {
		t.Error(d.err)
	}
	done()
	return at
}
