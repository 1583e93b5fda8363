// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

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
