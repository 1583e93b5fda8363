// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

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

// The private key is not asked before its time: the answer to what needs it is on its way by then.
func TestSecretIsAskedForLater(t *testing.T) {
	for name, test := range map[string]struct {
		after time.Duration
		ask   func(c *net.TCPConn) // what has it asked before
	}{
		"in time":                {time.Millisecond, func(*net.TCPConn) {}},
		"at the end of a peer":   {time.Hour, func(c *net.TCPConn) { _ = c.CloseWrite() }},
		"at the reset of a peer": {time.Hour, func(c *net.TCPConn) { rst(t, c) }},
	} {
		t.Run(name, func(t *testing.T) {
			hold := make(chan struct{})
			pool := rsakex.NewPool(new(rsakex.Ring), 1, 1, rsakex.Manners{Prepare: func() func(bool) {
				<-hold
				return nil
			}})
			defer pool.Close()
			defer close(hold)
			r := newRig(t, Config{askAfter: test.after}, func(e *fake) {
				e.ahead, e.verdict = all, session.Relay
				e.onFeed = func(e *fake, side handshake.Side, b []byte) {
					if side == client {
						e.secret = pool.MasterSecret(rsakex.Request{})
					}
				}
			})
			c, s := r.pair()
			send(t, c, "key exchange")
			expect(t, s, "key exchange")
			send(t, s, "finished")
			expect(t, c, "finished")
			if test.after == time.Hour && pool.Waiting() != 0 {
				t.Error("asked before its time")
			}
			test.ask(c)
			if !eventually(func() bool { return pool.Waiting() == 1 }) {
				t.Error("not asked")
			}
			_, _ = c.Close(), s.Close()
		})
	}
}

// TestSecretIsHastened: where the peers wait for the secret, it comes before those that nobody waits for.
func TestSecretIsHastened(t *testing.T) {
	key, cert := forge.Certificate("server", 2048)
	ring := new(rsakex.Ring)
	if err := ring.Add("test", cert, key); err != nil {
		t.Fatal(err)
	}
	if !ring.Interruptible() {
		t.Skip("processor: no fast private operation")
	}
	for name, test := range map[string]struct {
		backlog int
		holds   bool
		want    bool
	}{
		"nobody waits":        {},
		"as much as may":      {backlog: 1000},
		"too much is queued":  {backlog: 1001, want: true},
		"what comes is held":  {holds: true, want: true},
		"held, and much came": {1001, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			idle := new(rsakex.Idle)
			pool := rsakex.NewPool(ring, 1, 0, rsakex.Manners{Idle: idle})
			defer pool.Close()
			ask := func() *rsakex.Secret { return pool.MasterSecret(rsakex.Request{Key: ring.Keys()[0]}) }
			var others [4]*rsakex.Secret // of which an operation has as many
			for i := range others {
				others[i] = ask()
				others[i].Start()
			}
			var secret *rsakex.Secret
			cfg := Config{MaxBacklog: 1000}
			if test.want {
				cfg.askAfter = time.Hour // what is asked for before was hastened
			}
			r := newRig(t, cfg, func(e *fake) {
				e.verdict = session.Relay
				e.ahead = func(e *fake, _ handshake.Side, b []byte) int {
					if test.holds && e.secret != nil {
						return 0
					}
					return len(b)
				}
				e.onFeed = func(e *fake, side handshake.Side, b []byte) {
					if e.secret == nil {
						secret = ask()
						e.secret = secret
					}
					e.backlog = test.backlog
					if test.holds && string(b) == "more" {
						e.held[side] = len(b)
					}
				}
			})
			c, s := r.pair()
			send(t, c, "key exchange")
			expect(t, s, "key exchange")
			if test.backlog <= 1000 { // or it is not read any more
				send(t, c, "more")
				if !test.holds {
					expect(t, s, "more")
				}
			}
			if !eventually(func() bool { return pool.Waiting() == len(others)+1 }) {
				t.Fatal("not asked")
			}
			for _, l := range r.relay.loops { // what it is at comes to its end
				done := make(chan struct{})
				l.post(func() { close(done) })
				<-done
			}
			stepper := idle.Stepper()
			defer stepper.Close()
			for pool.Waiting() > 1 || !others[2].Ready() {
				stepper.Step()
			}
			if secret.Ready() != test.want {
				t.Errorf("it came before others: %v", !test.want)
			}
			rst(t, c)
			_ = s.Close()
		})
	}
}

// TestBacklogOfAll: where much is queued in all engines the chore is pressed, until it is read.
func TestBacklogOfAll(t *testing.T) {
	const page = 4 << 10
	r := newRig(t, Config{PressAbove: 2 * page, DrainTimeout: time.Millisecond}, func(e *fake) {
		var settle func([]byte, error)
		e.ahead, e.verdict = all, session.Relay
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if side == server {
				settle(nil, nil)
				return
			}
			if e.secret == nil {
				e.secret, settle = rsakex.NewSecret()
			}
			e.backlog += len(b)
		}
	})
	c1, s1 := r.pair()
	c2, s2 := r.pair()
	for _, step := range []struct {
		what    string
		conn    net.Conn
		bytes   int
		backlog int64
	}{
		{"one waits", c1, 2 * page, 2 * page},
		{"another with less than counts", c2, page - 1, 2 * page},
		{"with a byte more", c2, 1, 3 * page},
		{"that is read", s2, 1, 2 * page},
		{"the first has more", c1, 3 * page, 5 * page},
		{"and is read", s1, 1, 0},
	} {
		send(t, step.conn, strings.Repeat("x", step.bytes))
		if !eventually(func() bool { return r.relay.backlog.Load() == step.backlog }) {
			t.Fatalf("%s: a backlog of %d, want %d", step.what, r.relay.backlog.Load(), step.backlog)
		}
		l, pressed := r.relay.loops[0], make(chan bool)
		l.post(func() { pressed <- l.pressed(time.Now()) })
		if got := <-pressed; got != (step.backlog > 2*page) {
			t.Errorf("%s: pressed %v", step.what, got)
		}
	}
	send(t, c1, strings.Repeat("x", page))
	if !eventually(func() bool { return r.relay.backlog.Load() == page }) {
		t.Error("no backlog")
	}
	for _, c := range []*net.TCPConn{c1, c2} {
		rst(t, c)
	}
	r.stop()
	if n := r.relay.backlog.Load(); n != 0 {
		t.Errorf("a backlog of %d in the end", n)
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
	_ = c.CloseWrite()
	expectEOF(t, s)
	_ = s.Close()
	expectEOF(t, c) // the legs are gone before the secret is there
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
