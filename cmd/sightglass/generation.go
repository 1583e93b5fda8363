// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// generation is one reading of the configuration: the keys and the policy of the flows that began
// under it. Its workers end when the last of these flows has.
type generation struct {
	cfg   *session.Config
	pool  *rsakex.Pool
	users atomic.Int64 // flows, and one while it is the current generation
}

// generations hands out the current one, and lets it be replaced while flows go on.
type generations struct {
	current atomic.Pointer[generation]
	closing sync.WaitGroup
}

// replace makes g current for the flows that come.
func (gs *generations) replace(cfg *session.Config, pool *rsakex.Pool) {
	g := &generation{cfg: cfg, pool: pool}
	g.users.Store(1)
	gs.closing.Add(1)
	if old := gs.current.Swap(g); old != nil {
		gs.release(old)
	}
}

// close ends the current generation and waits for the workers of all. No flow may be left.
func (gs *generations) close() {
	if old := gs.current.Swap(nil); old != nil {
		gs.release(old)
	}
	gs.closing.Wait()
}

// acquire returns the current generation, in use.
func (gs *generations) acquire() *generation {
	for {
		g := gs.current.Load()
		if n := g.users.Load(); n > 0 && g.users.CompareAndSwap(n, n+1) {
			return g
		}
	}
}

func (gs *generations) release(g *generation) {
	if g.users.Add(-1) == 0 {
		// Not on this goroutine: it may be one of the pool's own.
		go func() {
			defer gs.closing.Done()
			g.pool.Close()
		}()
	}
}

// waiting counts the private-key operations that are queued.
func (gs *generations) waiting() int {
	if g := gs.current.Load(); g != nil {
		return g.pool.Waiting()
	}
	return 0
}

// filled returns how much of the places for such operations is taken.
func (gs *generations) filled() float64 {
	if g := gs.current.Load(); g != nil {
		return g.pool.Filled()
	}
	return 0
}

// counted is a session that keeps its generation in use until its end.
type counted struct {
	*session.Session
	generations *generations
	generation  *generation // nil after the end
}

func (gs *generations) newSession(f session.Flow) *counted {
	g := gs.acquire()
	return &counted{session.New(g.cfg, f), gs, g}
}

// End ends the session.
func (c *counted) End(t time.Time) *session.Flow {
	f := c.Session.End(t)
	if c.generation != nil {
		c.generations.release(c.generation)
		c.generation = nil
	}
	return f
}
