// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

// slowClient opens a flow whose client has taken less than its server sent.
func slowClient(t *testing.T, r *rig) (c, s *net.TCPConn) {
	t.Helper()
	c, s = r.pair()
	_ = c.SetReadBuffer(64 << 10)
	for taken := 1; taken > 0; { // until nothing moves any more
		_ = s.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		var err error
		if taken, err = s.Write(make([]byte, 64<<20)); err == nil {
			t.Fatal("all was taken")
		}
	}
	return c, s
}

// refusing is an engine that refuses at the client's first byte.
func refusing(e *fake) {
	e.ahead = all
	e.onFeed = func(e *fake, side handshake.Side, b []byte) {
		if side == client {
			e.alertBoth(session.TLS13)
		}
	}
}

// TestAlertToASlowClient: the alert follows what was released, though the client is slow to take it and the
// server is gone by then, whichever way.
func TestAlertToASlowClient(t *testing.T) {
	for name, leave := range map[string]func(s *net.TCPConn){
		"server ends":          func(s *net.TCPConn) { _ = s.CloseWrite() },
		"server resets":        func(s *net.TCPConn) { rst(t, s) },
		"server ends, resets":  func(s *net.TCPConn) { _ = s.CloseWrite(); rst(t, s) },
		"server stays as well": func(*net.TCPConn) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{}, refusing)
			c, s := slowClient(t, r)
			send(t, c, "x")
			_ = c.CloseWrite()
			_, _ = io.ReadAll(s)
			leave(s)
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			got, err := io.ReadAll(c)
			if err != nil || !bytes.HasSuffix(got, []byte("alert to client")) {
				t.Errorf("the client got %d bytes that end in %q, %v", len(got), got[max(0, len(got)-15):], err)
			}
		})
	}
}

// TestReleasedAndRefusedAtOnce: what the engine lets go goes before the alert.
func TestReleasedAndRefusedAtOnce(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if side == server {
				e.held[server] += len(b)
				return
			}
			e.held[server] = 0
			e.alertBoth(session.Malformed)
		}
	})
	c, s := r.pair()
	send(t, s, "judged at last, ")
	if !eventually(func() bool { return r.relay.Stats().Bytes[server] == 16 }) {
		t.Fatal("not read")
	}
	send(t, c, "x")
	expect(t, c, "judged at last, alert to client")
}

// gate stops an engine at its first byte.
type gate struct{ entered, leave chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func (g gate) feed(e *fake, side handshake.Side, b []byte) {
	if len(e.order) == 1 && len(e.fed[e.order[0]]) == len(b) {
		close(g.entered)
		<-g.leave
	}
}

// TestBothPeersBreak: neither leg takes what the other sent, and the flow ends.
func TestBothPeersBreak(t *testing.T) {
	g := newGate()
	r := newRig(t, Config{}, func(e *fake) { e.onFeed = g.feed })
	c, s := r.pair()
	send(t, c, "x")
	<-g.entered
	send(t, s, "the last words")
	rst(t, s)
	rst(t, c)
	close(g.leave)
	r.end()
}

// TestBrokenAndSlow: a peer that does not take what the other sent before it broke the connection is not
// waited for without end.
func TestBrokenAndSlow(t *testing.T) {
	r := newRig(t, Config{RefuseTimeout: 50 * time.Millisecond}, func(e *fake) { e.ahead = all })
	c, s := slowClient(t, r)
	rst(t, s)
	_, _ = c.Write([]byte("x")) // the flow may be over by now
	r.wantEnded(EndedByServer)
}

// TestUrgent: a byte that is marked as urgent is relayed in its place, and what follows it, too.
func TestUrgent(t *testing.T) {
	forModes(t, func(t *testing.T, m mode) {
		g := newGate()
		r := newRig(t, m.cfg, func(e *fake) {
			if m.script != nil {
				m.script(e)
			}
			inner := e.onFeed
			e.onFeed = func(e *fake, side handshake.Side, b []byte) {
				g.feed(e, side, b)
				if inner != nil {
					inner(e, side, b)
				}
			}
			if e.verdict == session.Bypass {
				close(g.entered)
			}
		})
		c, s := r.pair()
		send(t, s, "220 ")
		<-g.entered
		send(t, c, "abc")
		err := control(c, func(fd int) error { return unix.Sendto(fd, []byte("!"), unix.MSG_OOB, nil) })
		if err != nil {
			t.Fatal(err)
		}
		send(t, c, "def")
		close(g.leave)
		expect(t, c, "220 ")
		expect(t, s, "abc!def")
		send(t, c, "and on")
		expect(t, s, "and on")
	})
}

// failures tells why the server could not be reached.
type failures struct {
	NopObserver
	errs chan error
}

func (f *failures) DialFailed(_, _ netip.AddrPort, err error) { f.errs <- err }

func TestDialErrorNamesTheUpstream(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	f := &failures{errs: make(chan error, 1)}
	upstream, _ := Fixed(ln.Addr().String())
	r := newRig(t, Config{Upstream: upstream, Observer: f}, nil)
	if c, err := net.Dial("tcp", r.address); err == nil {
		defer c.Close()
	}
	err = <-f.errs
	if op := new(net.OpError); !errors.As(err, &op) || op.Op != "dial" || op.Addr.String() != ln.Addr().String() {
		t.Errorf("%v does not name %v", err, ln.Addr())
	}
}
