// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// TestProperty: whatever the chunks and whatever is held, for as long as it is held, and whichever loop carries it, exactly the
// bytes arrive that were sent.
func TestProperty(t *testing.T) {
	for seed := range uint64(40) {
		testProperty(t, seed, 1+int(seed)*5000)
	}
}

func testProperty(t *testing.T, seed uint64, size int) {
	t.Helper()
	r := newRig(t, Config{MaxHeld: 1 << 30, alwaysShare: seed%2 == 1}, func(e *fake) {
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
