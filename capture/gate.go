// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"sync"
	"sync/atomic"
)

// parked says whether a worker goes on with its part of a batch, or what it waits for.
type parked uint8

const (
	running parked = iota
	inTurn         // until all others have come as far
	full           // until its events are merged
	done
)

// gate is where workers and merger wait for each other. It is passed once for each batch by each
// worker, and beyond that only by those who have to wait.
type gate struct {
	mu       sync.Mutex
	cond     sync.Cond
	ring     [numBatches]*batch
	finished int          // the number of leading batches that are complete
	waiters  atomic.Int32 // workers that wait for their turn
}

func newGate() *gate {
	g := new(gate)
	g.cond.L = &g.mu
	return g
}

// open takes a batch that is about to be given to the workers, as the seq-th.
func (g *gate) open(b *batch, seq int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ring[seq%numBatches] = b
	b.seq, b.left = seq, 0
	for i := range b.parts {
		if b.parts[i].head >= 0 {
			b.left++
			b.parts[i].state = running
		} else {
			b.parts[i].state = done
		}
	}
	g.completed(b)
}

// leave says that a worker is done with its part.
func (g *gate) leave(b *batch, p *part) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.state = done
	b.left--
	g.completed(b)
	g.cond.Broadcast()
}

func (g *gate) completed(b *batch) {
	b.complete = b.left == 0
	for {
		next := g.ring[g.finished%numBatches]
		if next == nil || next.seq != g.finished || !next.complete {
			return
		}
		g.finished++
	}
}

// turn waits until all workers have processed everything before the key.
func (g *gate) turn(b *batch, p *part, at orderKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first(b, p, at) {
		return
	}
	p.state, p.at = inTurn, at
	g.waiters.Add(1)
	g.cond.Broadcast()
	for !g.first(b, p, at) {
		g.cond.Wait()
	}
	g.waiters.Add(-1)
	p.state = running
}

// first reports whether nothing before the key is left to others.
func (g *gate) first(b *batch, p *part, at orderKey) bool {
	if g.finished < b.seq {
		return false
	}
	for i := range b.parts {
		o := &b.parts[i]
		switch {
		case o == p, o.state == done, o.pos > at.n:
		case o.state != running && at.before(o.at):
		default:
			return false
		}
	}
	return true
}

// passed is called by a worker that has come to another packet, the n-th, while others wait for their turn.
func (g *gate) passed(p *part, n uint64) {
	g.mu.Lock()
	p.pos = n
	g.cond.Broadcast()
	g.mu.Unlock()
}

// drain waits until the worker's events up to the key are merged.
func (g *gate) drain(p *part, at orderKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.state, p.at = full, at
	g.cond.Broadcast()
	for p.state == full {
		g.cond.Wait()
	}
}

// await waits until the batch is complete, or until a worker's events have to be merged before the
// others' for it to go on; its part is returned then.
func (g *gate) await(b *batch) *part {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !b.complete {
		if p := g.fullest(b); p != nil {
			return p
		}
		g.cond.Wait()
	}
	return nil
}

// fullest returns the part that has to be merged, if all workers stand still and it is the first.
func (g *gate) fullest(b *batch) *part {
	var first *part
	for i := range b.parts {
		p := &b.parts[i]
		switch {
		case p.state == running:
			return nil
		case p.state != done && (first == nil || p.at.before(first.at)):
			first = p
		}
	}
	if first == nil || first.state != full {
		return nil
	}
	return first
}

// release lets a worker go on whose events were merged.
func (g *gate) release(p *part) {
	g.mu.Lock()
	p.state = running
	g.cond.Broadcast()
	g.mu.Unlock()
}
