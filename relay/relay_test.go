// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/race"
	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

func TestHalfCloses(t *testing.T) {
	forModes(t, func(t *testing.T, m mode) {
		t.Run("client first", func(t *testing.T) {
			r := newRig(t, m.cfg, m.script)
			c, s := r.pair()
			send(t, c, "request")
			_ = c.CloseWrite()
			expect(t, s, "request")
			expectEOF(t, s)
			send(t, s, "a long answer, ")
			expect(t, c, "a long answer, ")
			send(t, s, "after the request's end")
			_ = s.Close()
			expect(t, c, "after the request's end")
			expectEOF(t, c)
			r.wantEnded(EndedInOrder)
		})
		t.Run("server first", func(t *testing.T) {
			r := newRig(t, m.cfg, m.script)
			c, s := r.pair()
			send(t, s, "220 ready")
			_ = s.CloseWrite()
			expect(t, c, "220 ready")
			expectEOF(t, c)
			send(t, c, "still talking")
			expect(t, s, "still talking")
			_ = c.Close()
			expectEOF(t, s)
			e := r.end()
			if got := strings.Join(e.events, ", "); got != "fin server, fin client" {
				t.Errorf("the engine was told %q", got)
			}
			if e.flow.Bytes != [2]uint64{13, 9} {
				t.Errorf("bytes %v", e.flow.Bytes)
			}
		})
	})
}

func TestResets(t *testing.T) {
	forModes(t, func(t *testing.T, m mode) {
		for _, halfClosed := range []bool{false, true} {
			r := newRig(t, m.cfg, m.script)
			c, s := r.pair()
			send(t, s, "x") // bypasses where the mode does so later
			expect(t, c, "x")
			if halfClosed {
				_ = c.CloseWrite()
				expectEOF(t, s)
			}
			rst(t, c)
			expectBroken(t, s, halfClosed)
			r.wantEnded(EndedByClient)

			r = newRig(t, m.cfg, m.script)
			c, s = r.pair()
			send(t, c, "x")
			expect(t, s, "x")
			if halfClosed {
				_ = s.CloseWrite()
				expectEOF(t, c)
			}
			rst(t, s)
			expectBroken(t, c, halfClosed)
			r.wantEnded(EndedByServer)
			if e := r.end(); e.events[len(e.events)-1] != "reset server" {
				t.Errorf("the engine was told %q", e.events)
			}
		}
	})
}

// TestDataBeforeAReset: what a peer sent before it reset reaches the other, also when the relay learns of the
// reset first, by a write.
func TestDataBeforeAReset(t *testing.T) {
	forModes(t, func(t *testing.T, m mode) {
		for range 20 {
			r := newRig(t, m.cfg, m.script)
			c, s := r.pair()
			send(t, c, "x") // unread: the server's close is a reset
			if !eventually(func() bool { return r.relay.Stats().Bytes[client] == 1 }) {
				t.Fatal("not relayed")
			}
			send(t, s, "answer")
			_ = s.Close()
			_, _ = c.Write([]byte("y"))
			expect(t, c, "answer")
			r.wantEnded(EndedByServer)
		}
	})
}

// expectBroken wants a reset, which after the end of the stream only a write shows.
func expectBroken(t *testing.T, c *net.TCPConn, halfClosed bool) {
	t.Helper()
	if !halfClosed {
		expectReset(t, c)
		return
	}
	if !eventually(func() bool {
		_, err := c.Write([]byte("x"))
		return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
	}) {
		t.Fatal("the half-closed leg was not reset")
	}
}

func TestDialFailureResetsTheClient(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	refused := ln.Addr().(*net.TCPAddr).AddrPort()
	for name, cfg := range map[string]Config{
		"refused":        {Upstream: refused},
		"no address":     {Lookup: func(context.Context) ([]netip.AddrPort, error) { return nil, errors.New("no such host") }},
		"refused by all": {Lookup: func(context.Context) ([]netip.AddrPort, error) { return []netip.AddrPort{refused, refused}, nil }},
		"no answer": {DialTimeout: 20 * time.Millisecond, Lookup: func(ctx context.Context) ([]netip.AddrPort, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, cfg, nil)
			// The reset may come before the client's own call has returned.
			if c, err := net.Dial("tcp", r.address); err == nil {
				expectReset(t, c)
				_ = c.Close()
			} else if !errors.Is(err, syscall.ECONNRESET) {
				t.Fatal(err)
			}
			if !eventually(func() bool { return r.relay.Stats().Ended[EndedDialFailed] == 1 && r.relay.Stats().Active == 0 }) {
				t.Errorf("stats %+v", r.relay.Stats())
			}
		})
	}
}

func TestBackPressure(t *testing.T) {
	forModes(t, func(t *testing.T, m mode) {
		r := newRig(t, m.cfg, m.script)
		c, s := r.pair()
		_ = c.SetReadBuffer(64 << 10)
		send(t, s, "x")
		expect(t, c, "x")
		// The server writes what it can; the client does not read.
		const total = 64 << 20
		sent := make(chan int, 1)
		go func() {
			chunk := bytes.Repeat([]byte{'s'}, 64<<10)
			n := 0
			for n < total {
				m, err := s.Write(chunk)
				n += m
				if err != nil {
					break
				}
			}
			sent <- n
			_ = s.CloseWrite()
		}()
		// The other direction goes on meanwhile.
		for range 100 {
			send(t, c, "still alive")
			expect(t, s, "still alive")
		}
		before := r.relay.Stats().Bytes[server]
		if before >= total/2 {
			t.Errorf("%d bytes were taken for a client that does not read", before)
		}
		n, err := io.Copy(io.Discard, c)
		if err != nil || n != total || <-sent != total {
			t.Errorf("%d bytes arrived, %v", n, err)
		}
	})
}

func TestHandshakeTimeout(t *testing.T) {
	r := newRig(t, Config{HandshakeTimeout: 20 * time.Millisecond}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) { e.busy = side == client }
		e.onFail = func(e *fake, c session.Cause) { e.resetBoth(c) }
	})
	c, s := r.pair()
	send(t, s, "no handshake yet")
	expect(t, c, "no handshake yet")
	send(t, c, "hello")
	expect(t, s, "hello")
	expectReset(t, c)
	expectReset(t, s)
	if e := r.end(); e.flow.Cause != session.HandshakeTimeout {
		t.Errorf("cause %v", e.flow.Cause)
	}
}

func TestIdleTimeout(t *testing.T) {
	forModes(t, func(t *testing.T, m mode) {
		m.cfg.IdleTimeout = 50 * time.Millisecond
		r := newRig(t, m.cfg, m.script)
		c, s := r.pair()
		for range 10 {
			send(t, s, "x")
			expect(t, c, "x")
		}
		expectReset(t, c)
		r.wantEnded(EndedIdle)
	})
}

// TestKeepAlive: of a flow that is not short the kernel asks whether the server is still there.
func TestKeepAlive(t *testing.T) {
	r := newRig(t, Config{}, nil)
	c, s := r.pair()
	send(t, c, "x")
	expect(t, s, "x")
	asks := make(chan int, 2)
	for _, after := range []time.Duration{0, probeAfter} {
		for _, l := range r.relay.loops {
			l.post(func() {
				for f := range l.flows {
					f.tick(f.start.Add(after))
					asked, _ := unix.GetsockoptInt(f.legs[server].fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
					asks <- asked
				}
			})
		}
		if asked, want := <-asks == 1, after > 0; asked != want {
			t.Errorf("after %v: %v", after, asked)
		}
	}
	_, _ = c.Close(), s.Close()
	r.end()
}

func TestShutdownDrains(t *testing.T) {
	r := newRig(t, Config{DrainTimeout: 10 * time.Second}, nil)
	c, s := r.pair()
	send(t, c, "x")
	expect(t, s, "x")
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	// No new connections, but the flow goes on to its end.
	if !eventually(func() bool {
		n, err := net.Dial("tcp", r.address)
		if err == nil {
			rst(t, n.(*net.TCPConn)) // it was in time: not to be waited for
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}) {
		t.Fatal("still accepting")
	}
	send(t, s, "goes on")
	expect(t, c, "goes on")
	_, _ = c.Close(), s.Close()
	<-stopped
	if r.relay.Stats().Ended[EndedInOrder] == 0 {
		t.Errorf("stats %+v", r.relay.Stats())
	}
}

func TestShutdownResetsWhatIsLeft(t *testing.T) {
	blocked := make(chan struct{})
	lookup := func(ctx context.Context) ([]netip.AddrPort, error) {
		close(blocked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := newRig(t, Config{DrainTimeout: 10 * time.Millisecond}, nil)
	r2 := newRig(t, Config{DrainTimeout: 10 * time.Millisecond, Lookup: lookup}, nil)
	c, s := r.pair()
	send(t, c, "x")
	expect(t, s, "x")
	dialling := r2.dial()
	<-blocked
	r.stop()
	r2.stop()
	expectReset(t, c)
	expectReset(t, s)
	expectReset(t, dialling)
	r.wantEnded(EndedByShutdown)
}

func TestMaxFlows(t *testing.T) {
	r := newRig(t, Config{MaxFlows: 1}, nil)
	c, s := r.pair()
	if over, err := net.Dial("tcp", r.address); err == nil {
		expectReset(t, over)
		_ = over.Close()
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	if got := r.relay.Stats(); got.OverLimit != 1 || got.Active != 1 {
		t.Errorf("stats %+v", got)
	}
	_, _ = c.Close(), s.Close()
	if !eventually(func() bool { return r.relay.Stats().Active == 0 }) {
		t.Fatal("the flow did not end")
	}
	c, s = r.pair()
	send(t, c, "again")
	expect(t, s, "again")
}

// TestCausality: what one side sends is fed before what the other side answers to it, though it was
// relayed before it was fed.
func TestCausality(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) { e.ahead, e.verdict = all, session.Relay })
	c, s := r.pair()
	go func() { _, _ = io.Copy(s, s); _ = s.CloseWrite() }()
	const rounds = 2000
	for range rounds {
		send(t, c, "request")
		expect(t, c, "request")
	}
	_ = c.Close()
	e := r.end()
	if len(e.order) != 2*rounds || e.order[0] != client {
		t.Errorf("%d turns, beginning with the %v; want %d", len(e.order), e.order[0], 2*rounds)
	}
}

// TestNoAllocation: a byte's way through the relay allocates nothing.
func TestNoAllocation(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, m := range modes[1:4] {
		t.Run(m.name, func(t *testing.T) {
			r := newRig(t, m.cfg, func(e *fake) {
				m.script(e)
				e.fed[client] = make([]byte, 0, 1<<20)
				e.fed[server] = make([]byte, 0, 1<<20)
				e.order = make([]handshake.Side, 0, 1<<16)
			})
			c, s := r.pair()
			buf := make([]byte, 100)
			allocs := testing.AllocsPerRun(1000, func() {
				_, _ = c.Write(buf)
				_, _ = io.ReadFull(s, buf)
				_, _ = s.Write(buf)
				_, _ = io.ReadFull(c, buf)
			})
			if allocs > 0 {
				t.Errorf("%v allocations a round trip", allocs)
			}
		})
	}
}
