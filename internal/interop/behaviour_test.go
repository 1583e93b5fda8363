// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

// behaviour is something that peers do with a connection, and what becomes of it.
type behaviour struct {
	name string
	// run does it, and returns the flow's server.
	run func(*testing.T, context.Context, *lab) netip.AddrPort
	// outcome and cause are what EVE says at the end; no outcome: it says nothing.
	outcome, cause string
	// client and server are what they sent, as read; nil: not compared.
	client, server []byte
}

var behaviours = []behaviour{
	{name: "a hello of one byte a segment", run: bytewise, outcome: "read"},
	{name: "64 KiB of certificates", run: largeChain, outcome: "read"},
	{name: "the server speaks first", run: serverFirst, outcome: "unread", cause: "not_tls",
		client: []byte("hello\n"), server: []byte("220 banner\n250 hello\n")},
	{name: "half-closed", run: halfClosed, outcome: "unread", cause: "not_tls",
		client: []byte("all I have to say"), server: []byte("heard: all I have to say")},
	{name: "half-closed TLS", run: halfClosedTLS, outcome: "read",
		client: []byte("all I have to say"), server: []byte("heard: all I have to say")},
	{name: "reset by the client", run: func(t *testing.T, _ context.Context, l *lab) netip.AddrPort { return reset(t, l, true) },
		outcome: "unread", cause: "not_tls"},
	{name: "reset by the server", run: func(t *testing.T, _ context.Context, l *lab) netip.AddrPort { return reset(t, l, false) },
		outcome: "unread", cause: "not_tls"},
	{name: "nobody listens", run: refusedDial},
}

// TestBehaviour shows what the box does with TCP and with unusual TLS.
func TestBehaviour(t *testing.T) {
	ctx := bound(t, 2*time.Minute)
	need(t, "openssl")
	l := newLab(t)
	b := l.inline(ctx)
	wires := l.capture()
	servers := make([]netip.AddrPort, len(behaviours))
	for i, c := range behaviours {
		t.Run(c.name, func(t *testing.T) { servers[i] = c.run(t, ctx, l) })
	}
	r := b.finish()
	client, server, _ := wires.stop(t)
	for i, c := range behaviours {
		t.Run(c.name+", as read", func(t *testing.T) {
			flows := r.to(servers[i])
			if c.outcome == "" {
				if len(flows) != 0 {
					t.Errorf("flows: %v", flows)
				}
				return
			}
			if len(flows) != 1 {
				t.Fatalf("flows: %v", flows)
			}
			f := flows[0]
			if f.Outcome != c.outcome || f.Cause != c.cause {
				t.Errorf("outcome %s, cause %q; want %s, %q: %v", f.Outcome, f.Cause, c.outcome, c.cause, f)
			}
			for _, side := range []struct {
				name nettest.StreamKey
				want []byte
			}{{f.name(), c.client}, {f.name().Reverse(), c.server}} {
				if side.want != nil && !bytes.Equal(r.said(f, side.name), side.want) {
					t.Errorf("%v read as %q, want %q", side.name, r.said(f, side.name), side.want)
				}
				if err := sameStream(side.name, client, server); err != nil {
					t.Error(err)
				}
			}
			if i == 0 {
				manySegments(t, client[f.name()])
			}
		})
	}
}

// manySegments checks that the hello came in pieces as small as was meant.
func manySegments(t *testing.T, s *nettest.Stream) {
	t.Helper()
	hello := int(s.Payload[3])<<8 | int(s.Payload[4]) + 5
	if s.Segments < hello {
		t.Errorf("%d segments for a hello of %d bytes", s.Segments, hello)
	}
}

// segmentConn sends its first write a byte at a time.
type segmentConn struct {
	*net.TCPConn
	done bool
}

// Write implements net.Conn.
func (c *segmentConn) Write(b []byte) (int, error) {
	if c.done {
		return c.TCPConn.Write(b)
	}
	c.done = true
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	for i := range b {
		// A record's end, which MSG_EOR is, stands at the end of a segment.
		var failure error
		err := raw.Write(func(fd uintptr) bool {
			_, failure = unix.SendmsgN(int(fd), b[i:i+1], nil, nil, unix.MSG_EOR)
			return failure != unix.EAGAIN
		})
		if err := errors.Join(err, failure); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func bytewise(t *testing.T, ctx context.Context, l *lab) netip.AddrPort {
	srv, err := serveOpenSSL(ctx, l, serving{port: l.port(), auth: required})
	must(t, err)
	conn, err := l.Client.Dial("tcp", srv.addr4.String())
	must(t, err)
	defer func() { _ = conn.Close() }()
	v := visiting{to: srv.addr4, path: "/bytewise", version: handshake.TLS12, certificate: true}
	if done := goRequest(ctx, &segmentConn{TCPConn: conn.(*net.TCPConn)}, v, goClientConfig(l, v)); done.err != nil {
		t.Errorf("%v\n%s", done.err, srv.log())
	}
	return srv.addr4
}

func largeChain(t *testing.T, ctx context.Context, l *lab) netip.AddrPort {
	srv, err := serveOpenSSL(ctx, l, serving{port: l.port(), auth: required, chainFile: l.pki.bigChain})
	must(t, err)
	v := visitOpenSSL(ctx, l, visiting{to: srv.addr6, path: "/large", version: handshake.TLS12, certificate: true})
	if v.err != nil {
		t.Errorf("%v\n%s\n%s", v.err, v.log, srv.log())
	}
	return srv.addr6
}

// accept serves one connection in the server host.
func (l *lab) accept(t *testing.T, serve func(net.Conn) error) (at netip.AddrPort, done func()) {
	t.Helper()
	port := l.port()
	ln, err := l.Server.Listen("tcp", fmt.Sprintf("[::]:%d", port))
	must(t, err)
	result := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			result <- err
			return
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(visitLimit))
		result <- serve(conn)
	}()
	return netip.AddrPortFrom(nettest.Server4, port), func() {
		t.Helper()
		if err := <-result; err != nil {
			t.Errorf("the server: %v", err)
		}
		_ = ln.Close()
	}
}

// connect connects from the client host.
func (l *lab) connect(t *testing.T, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn, err := l.Client.Dial("tcp", to.String())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(visitLimit)))
	return conn.(*net.TCPConn)
}

// expect reads exactly what is wanted.
func expect(r io.Reader, want string) error {
	b := make([]byte, len(want))
	n, err := io.ReadFull(r, b)
	if string(b[:n]) != want {
		return fmt.Errorf("read %q, want %q: %w", b[:n], want, err)
	}
	return nil
}

func serverFirst(t *testing.T, _ context.Context, l *lab) netip.AddrPort {
	at, done := l.accept(t, func(c net.Conn) error {
		_, err := io.WriteString(c, "220 banner\n")
		err = errors.Join(err, expect(c, "hello\n"))
		_, more := io.WriteString(c, "250 hello\n")
		return errors.Join(err, more)
	})
	c := l.connect(t, at)
	must(t, expect(c, "220 banner\n"))
	_, err := io.WriteString(c, "hello\n")
	must(t, err)
	must(t, expect(c, "250 hello\n"))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v at the end", n, err)
	}
	must(t, c.Close())
	done()
	return at
}

// hear answers with all that it reads, once there is no more.
func hear(c net.Conn) error {
	all, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c, "heard: %s", all)
	return err
}

func halfClosed(t *testing.T, _ context.Context, l *lab) netip.AddrPort {
	at, done := l.accept(t, hear)
	c := l.connect(t, at)
	_, err := io.WriteString(c, "all I have to say")
	must(t, err)
	must(t, c.CloseWrite())
	must(t, expect(c, "heard: all I have to say"))
	must(t, c.Close())
	done()
	return at
}

func halfClosedTLS(t *testing.T, _ context.Context, l *lab) netip.AddrPort {
	at, done := l.accept(t, func(c net.Conn) error {
		conn := tls.Server(c, goServerConfig(l, serving{}))
		return errors.Join(hear(conn), conn.Close())
	})
	raw := l.connect(t, at)
	c := tls.Client(raw, goClientConfig(l, visiting{version: handshake.TLS12}))
	_, err := io.WriteString(c, "all I have to say")
	must(t, err)
	must(t, c.CloseWrite())
	must(t, raw.CloseWrite())
	must(t, expect(c, "heard: all I have to say"))
	must(t, raw.Close())
	done()
	return at
}

// reset breaks the connection on one side; the other must see that it was broken.
func reset(t *testing.T, l *lab, byClient bool) netip.AddrPort {
	broken := func(c net.Conn) error {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			return fmt.Errorf("not reset: %w", err)
		}
		return nil
	}
	breaks := func(c net.Conn) error { return errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()) }
	at, done := l.accept(t, func(c net.Conn) error {
		if err := expect(c, "ready"); err != nil {
			return err
		}
		if _, err := io.WriteString(c, "ready"); err != nil {
			return err
		}
		if byClient {
			return broken(c)
		}
		return breaks(c)
	})
	c := l.connect(t, at)
	_, err := io.WriteString(c, "ready")
	must(t, err)
	must(t, expect(c, "ready"))
	if byClient {
		must(t, breaks(c))
	} else {
		must(t, broken(c))
	}
	done()
	return at
}

// refusedDial connects to a port on which nobody listens.
func refusedDial(t *testing.T, _ context.Context, l *lab) netip.AddrPort {
	at := netip.AddrPortFrom(nettest.Server4, l.port())
	conn, err := l.Client.Dial("tcp", at.String())
	if err == nil {
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(visitLimit))
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the client got %v, want a reset", err)
	}
	return at
}
