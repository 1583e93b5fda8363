// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// modes are the ways in which bytes pass a flow that nothing is wrong with.
var modes = []struct {
	name   string
	script func(e *fake)
}{
	{"fed first", nil},
	{"written ahead", func(e *fake) { e.ahead, e.verdict = all, session.Relay }},
	{"bypassed", func(e *fake) { e.verdict = session.Bypass }},
	{"bypassed later", func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, _ []byte) {
			if side == server {
				e.verdict = session.Bypass
			}
		}
	}},
}

func forModes(t *testing.T, f func(t *testing.T, script func(*fake))) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) { f(t, m.script) })
	}
}

func TestHalfCloses(t *testing.T) {
	forModes(t, func(t *testing.T, script func(*fake)) {
		t.Run("client first", func(t *testing.T) {
			r := newRig(t, Config{}, script)
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
			r := newRig(t, Config{}, script)
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
	forModes(t, func(t *testing.T, script func(*fake)) {
		for _, halfClosed := range []bool{false, true} {
			r := newRig(t, Config{}, script)
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

			r = newRig(t, Config{}, script)
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
	for name, dial := range map[string]Dialer{
		"refused": func(ctx context.Context, _, _ netip.AddrPort) (Conn, error) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			_ = ln.Close()
			return Fixed(ln.Addr().String())(ctx, netip.AddrPort{}, netip.AddrPort{})
		},
		"no answer": func(ctx context.Context, _, _ netip.AddrPort) (Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{Dial: dial, DialTimeout: 20 * time.Millisecond}, nil)
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
	forModes(t, func(t *testing.T, script func(*fake)) {
		r := newRig(t, Config{}, script)
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

func TestHeldUntilReleasedByTheOtherSide(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			switch {
			case side == server && e.verdict == session.Undecided:
				e.held[server] += len(b)
			case side == client && string(b) == "release":
				e.held[server], e.verdict = 0, session.Relay
			}
		}
	})
	c, s := r.pair()
	send(t, s, "first ")
	send(t, c, "ping")
	expect(t, s, "ping")
	send(t, s, "second ")
	if !eventually(func() bool { return r.relay.Stats().Bytes[server] == 13 }) {
		t.Fatal("the relay did not read what it holds")
	}
	expectNothing(t, c)
	send(t, c, "release")
	expect(t, c, "first second ")
	expect(t, s, "release")
	send(t, s, "third")
	expect(t, c, "third")
}

func TestHeldInTheMiddleOfARead(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.ahead = func(e *fake, side handshake.Side, b []byte) int {
			if i := bytes.IndexByte(b, '['); side == server && i >= 0 {
				return i
			}
			return len(b)
		}
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if i := bytes.IndexByte(e.fed[server], '['); i >= 0 {
				e.held[server] = len(e.fed[server]) - i
			}
			if bytes.IndexByte(e.fed[server], ']') >= 0 {
				e.held[server] = 0
			}
		}
	})
	c, s := r.pair()
	send(t, s, "free[held")
	expect(t, c, "free")
	expectNothing(t, c)
	send(t, s, " still]gone")
	expect(t, c, "[held still]gone")
}

func TestHeldTooMuch(t *testing.T) {
	r := newRig(t, Config{MaxHeld: 1000}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) { e.held[side] += len(b) }
		e.onFail = func(e *fake, c session.Cause) { e.resetBoth(c) }
	})
	c, s := r.pair()
	send(t, s, strings.Repeat("x", 1001))
	expectReset(t, c)
	expectReset(t, s)
	r.wantEnded(EndedRefused)
	if r.relay.Stats().Refused[session.HandshakeTooLarge] != 1 {
		t.Errorf("refused %v", r.relay.Stats().Refused)
	}
}

func TestServerClosesWithinWhatIsHeld(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) { e.held[side] += len(b) }
		e.onFail = func(e *fake, c session.Cause) { e.verdict = session.Bypass }
	})
	c, s := r.pair()
	send(t, s, "half a flight")
	_ = s.CloseWrite()
	expect(t, c, "half a flight")
	expectEOF(t, c)
	send(t, c, "answer")
	_ = c.CloseWrite()
	if e := r.engine(); e == nil {
		t.Fatal("no engine")
	}
	expect(t, s, "answer")
	expectEOF(t, s)
	if e := r.end(); e.flow.Cause != session.Malformed {
		t.Errorf("cause %v", e.flow.Cause)
	}
}

func TestRefusalByAlert(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if i := bytes.IndexByte(b, '!'); side == server && i >= 0 {
				e.held[server] = len(b) - i
				e.alertBoth(session.TLS13)
			}
		}
	})
	c, s := r.pair()
	send(t, c, "hello")
	expect(t, s, "hello")
	send(t, s, "released!and this is not"+strings.Repeat("x", 1<<20))
	// Both peers go on to send: the alert must arrive all the same, and no reset before it.
	send(t, c, strings.Repeat("y", 1<<20))
	expect(t, c, "releasedalert to client")
	expectEOF(t, c)
	_ = c.Close()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.HasSuffix(got, []byte("alert to server")) {
		t.Errorf("the server got %d bytes, %v", len(got), err)
	}
	_ = s.Close()
	r.wantEnded(EndedRefused)
	if got := r.relay.Stats().Refused[session.TLS13]; got != 1 {
		t.Errorf("counted %d refusals", got)
	}
}

func TestRefusalDoesNotWaitForEver(t *testing.T) {
	r := newRig(t, Config{RefuseTimeout: 50 * time.Millisecond}, func(e *fake) {
		e.ahead = all
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if side == client {
				e.alertBoth(session.TLS13)
			}
		}
	})
	c, s := r.pair()
	go func() { // the client reads nothing of all this, so the alert cannot follow it
		_, _ = s.Write(make([]byte, 64<<20))
	}()
	if !eventually(func() bool { return r.relay.Stats().Bytes[server] > 64<<10 }) {
		t.Fatal("nothing was relayed")
	}
	send(t, c, "x")
	r.wantEnded(EndedRefused)
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
	forModes(t, func(t *testing.T, script func(*fake)) {
		r := newRig(t, Config{IdleTimeout: 50 * time.Millisecond}, script)
		c, s := r.pair()
		for range 10 {
			send(t, s, "x")
			expect(t, c, "x")
		}
		expectReset(t, c)
		r.wantEnded(EndedIdle)
	})
}

func TestPanics(t *testing.T) {
	boom := func(e *fake, side handshake.Side, b []byte) {
		if string(b) == "boom" {
			panic("boom")
		}
	}
	for _, tc := range []struct {
		name     string
		onPanic  session.Action
		onFail   func(e *fake, c session.Cause)
		forwards bool
		panics   uint64
	}{
		{"policy reset", 0, func(e *fake, c session.Cause) { e.resetBoth(c) }, false, 1},
		{"policy forward", 0, func(e *fake, c session.Cause) { e.verdict = session.Bypass }, true, 1},
		{"panics at failing", 0, func(*fake, session.Cause) { panic("again") }, false, 2},
		{"panics at failing, forward", session.ActionForward, func(*fake, session.Cause) { panic("again") }, true, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, Config{OnPanic: tc.onPanic}, func(e *fake) { e.onFeed, e.onFail = boom, tc.onFail })
			c, s := r.pair()
			send(t, c, "before")
			expect(t, s, "before")
			c2, s2 := r.pair()
			send(t, c, "boom")
			if tc.forwards {
				expect(t, s, "boom")
				send(t, s, "after")
				expect(t, c, "after")
				_, _ = c.Close(), s.Close()
			} else {
				expectReset(t, c)
				_, _ = io.ReadAll(s) // what was released before the refusal may still arrive
			}
			if e := r.end(); e.flow.Cause != session.Malformed {
				t.Errorf("cause %v", e.flow.Cause)
			}
			send(t, c2, "others go on")
			expect(t, s2, "others go on")
			if got := r.relay.Stats().Panics; got != tc.panics {
				t.Errorf("%d panics were counted, want %d", got, tc.panics)
			}
		})
	}
}

func TestPanicAtTheEnd(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onEnd = func(e *fake) { close(e.ended); panic("at the end") }
	})
	c, s := r.pair()
	_, _ = c.Close(), s.Close()
	r.end()
	r.wantEnded(EndedInOrder)
}

func TestBacklogStopsTheReading(t *testing.T) {
	secret, settle := rsakex.NewSecret()
	r := newRig(t, Config{MaxBacklog: 1000}, func(e *fake) {
		e.ahead, e.verdict = all, session.Relay
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if side == client && string(b) == "key exchange" {
				e.secret = secret
			}
			if e.secret != nil {
				e.backlog += len(b)
			}
		}
	})
	c, s := r.pair()
	send(t, c, "key exchange")
	expect(t, s, "key exchange")
	send(t, c, strings.Repeat("x", 2000))
	expect(t, s, strings.Repeat("x", 2000)) // relayed all the same: the peers do not wait
	send(t, c, "later")
	send(t, s, "the other side fills the backlog, too, and then it is no longer read")
	expect(t, c, "the other side fills the backlog, too, and then it is no longer read")
	expectNothing(t, s)
	settle(make([]byte, 48), nil)
	expect(t, s, "later")
	_, _ = c.Close(), s.Close()
	if e := r.end(); e.events[0] != "resume" {
		t.Errorf("the engine was told %q", e.events)
	}
}

func TestEndWaitsForTheSecret(t *testing.T) {
	secret, settle := rsakex.NewSecret()
	r := newRig(t, Config{}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) { e.secret = secret }
	})
	c, s := r.pair()
	send(t, c, "x")
	expect(t, s, "x")
	_ = c.Close()
	expectEOF(t, s)
	_ = s.Close()
	// The legs are gone before the secret is there.
	if !eventually(func() bool { return !strings.Contains(stacks(), "relay.(*direction)") }) {
		t.Fatal("the legs were not let go")
	}
	select {
	case <-r.engine().ended:
		t.Fatal("ended without its secret")
	default:
	}
	settle(make([]byte, 48), nil)
	e := r.end()
	if got := strings.Join(e.events, ", "); got != "fin client, fin server, resume" {
		t.Errorf("the engine was told %q", got)
	}
}

func TestShutdownDoesNotWaitForASecret(t *testing.T) {
	secret, settle := rsakex.NewSecret()
	defer settle(nil, errors.New("never used"))
	r := newRig(t, Config{DrainTimeout: 10 * time.Millisecond}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) { e.secret = secret }
	})
	c, s := r.pair()
	send(t, c, "x")
	expect(t, s, "x")
	_, _ = c.Close(), s.Close()
	r.stop()
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
			_ = n.Close()
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
	dial := func(ctx context.Context, _, _ netip.AddrPort) (Conn, error) {
		close(blocked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := newRig(t, Config{DrainTimeout: 10 * time.Millisecond}, nil)
	r2 := newRig(t, Config{DrainTimeout: 10 * time.Millisecond, Dial: dial}, nil)
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

// TestProperty: whatever the chunks and whatever is held, for as long as it is held, exactly the
// bytes arrive that were sent.
func TestProperty(t *testing.T) {
	for seed := range uint64(40) {
		testProperty(t, seed, 1+int(seed)*5000)
	}
}

func testProperty(t *testing.T, seed uint64, size int) {
	t.Helper()
	r := newRig(t, Config{MaxHeld: 1 << 30}, func(e *fake) {
		rng := rand.New(rand.NewPCG(seed, 1))
		e.ahead = func(e *fake, side handshake.Side, b []byte) int {
			if e.held[side] > 0 {
				return 0
			}
			return rng.IntN(len(b) + 1)
		}
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			// Held grows by what was fed at most, and may shrink to anything: of either side.
			for _, sd := range []handshake.Side{client, server} {
				limit := e.held[sd]
				if sd == side {
					limit += len(b) / 2
				}
				if rng.IntN(3) > 0 && limit > 0 {
					limit = rng.IntN(limit)
				}
				e.held[sd] = limit
			}
			total := len(e.fed[client]) + len(e.fed[server])
			switch {
			case total >= 2*size: // nothing is held for ever
				e.held = [2]int{}
			case rng.IntN(200) == 0:
				e.verdict = session.Bypass
			}
		}
		e.onFail = func(e *fake, _ session.Cause) { e.verdict = session.Bypass }
		// Ahead relays at most what is not held afterwards.
		inner := e.ahead
		e.ahead = func(e *fake, side handshake.Side, b []byte) int { return min(inner(e, side, b), len(b)/2) }
	})
	c, s := r.pair()
	rng := rand.New(rand.NewPCG(seed, 2))
	fromClient, fromServer := random(rng, size), random(rng, size)
	results := make(chan error, 2)
	go chop(s, fromServer, rand.New(rand.NewPCG(seed, 3)))
	go chop(c, fromClient, rand.New(rand.NewPCG(seed, 4)))
	for _, leg := range []struct {
		conn net.Conn
		want []byte
	}{{c, fromServer}, {s, fromClient}} {
		go func() {
			got, err := io.ReadAll(leg.conn)
			if err == nil && !bytes.Equal(got, leg.want) {
				err = errors.New("the bytes differ")
			}
			results <- err
		}()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	e := r.end()
	if e.flow.Bytes != [2]uint64{uint64(size), uint64(size)} {
		t.Errorf("seed %d: %v bytes were counted, want %d each", seed, e.flow.Bytes, size)
	}
	r.wantEnded(EndedInOrder)
	_, _ = c.Close(), s.Close()
	r.stop()
}

func random(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// chop sends b in pieces of random size, and then the end of the stream.
func chop(c *net.TCPConn, b []byte, rng *rand.Rand) {
	for len(b) > 0 {
		n := min(len(b), 1+rng.IntN(1<<rng.IntN(17)))
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
	_ = c.CloseWrite()
}

func FuzzProperty(f *testing.F) {
	f.Add(uint64(7), uint16(1000))
	f.Fuzz(func(t *testing.T, seed uint64, size uint16) { testProperty(t, seed, 1+int(size)) })
}

// parked counts the directions in the lot.
func (r *rig) parked() int {
	r.relay.lot.mu.Lock()
	defer r.relay.lot.mu.Unlock()
	return len(r.relay.lot.parked)
}

func (r *rig) waitParked(n int) {
	r.t.Helper()
	if !eventually(func() bool { return r.parked() == n }) {
		r.t.Fatalf("%d directions are parked, want %d", r.parked(), n)
	}
}

// TestParking: a flow without goroutines goes on, and ends, as any other.
func TestParking(t *testing.T) {
	forModes(t, func(t *testing.T, script func(*fake)) {
		open := func(t *testing.T) (r *rig, c, s *net.TCPConn) {
			t.Helper()
			r = newRig(t, Config{DrainTimeout: 10 * time.Millisecond}, script)
			c, s = r.pair()
			for range 3 {
				send(t, s, "x")
				expect(t, c, "x")
				send(t, c, "y")
				expect(t, s, "y")
				r.waitParked(2)
			}
			if !eventually(func() bool { return !strings.Contains(stacks(), "relay.(*direction).run") }) {
				t.Fatal("a goroutine stayed")
			}
			return r, c, s
		}
		t.Run("in order", func(t *testing.T) {
			r, c, s := open(t)
			_ = c.CloseWrite()
			expectEOF(t, s)
			send(t, s, "answer")
			expect(t, c, "answer")
			r.waitParked(1)
			_ = s.Close()
			expectEOF(t, c)
			r.wantEnded(EndedInOrder)
		})
		t.Run("reset", func(t *testing.T) {
			r, c, s := open(t)
			rst(t, c)
			expectReset(t, s)
			r.wantEnded(EndedByClient)
		})
		t.Run("shutdown", func(t *testing.T) {
			r, c, s := open(t)
			r.stop()
			expectReset(t, c)
			expectReset(t, s)
			r.wantEnded(EndedByShutdown)
		})
	})
}

// TestRefusedWhileParked: what one direction brings reaches the other, though that has no goroutine.
func TestRefusedWhileParked(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if side == server {
				e.held[server] = len(b)
				e.alertBoth(session.TLS13)
			}
		}
	})
	c, s := r.pair()
	send(t, c, "hello")
	expect(t, s, "hello")
	r.waitParked(2)
	send(t, s, "not this")
	expect(t, c, "alert to client")
	expect(t, s, "alert to server")
	_, _ = c.Close(), s.Close()
	r.wantEnded(EndedRefused)
}

// TestNoAllocation: a byte's way through the relay allocates nothing.
func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, m := range modes[1:3] {
		t.Run(m.name, func(t *testing.T) {
			r := newRig(t, Config{ParkAfter: time.Hour}, func(e *fake) {
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
