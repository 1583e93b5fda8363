// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/rsakex/internal/ifma"
)

// Idle has private operations done by goroutines that have a moment to spare, a bit at a time: those that can be interrupted.
// Pools share it, see [Manners]. It wakes nobody: who asks for a secret looks at the Due of a [Stepper] of its own then. It is
// safe for concurrent use.
type Idle struct {
	waiting atomic.Int32 // len(jobs), for who only looks

	mu   sync.Mutex
	jobs []idleJob // the oldest first; each pool bounds its own
}

type idleJob struct {
	job
	pool  *Pool
	since time.Time
}

// overdueAfter is how long an operation may wait for moments to spare. Meanwhile no more is lost than that its flow is read late.
const overdueAfter = 10 * time.Millisecond

// put queues a job of a pool that is not closed.
func (i *Idle) put(p *Pool, j job) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if int(p.aside.Load()) >= cap(p.queue) {
		return ErrOverload
	}
	i.jobs = append(i.jobs, idleJob{j, p, time.Now()})
	p.aside.Add(1)
	i.waiting.Store(int32(len(i.jobs)))
	return nil
}

// due returns when the first job may be taken, as far as is known, with mu held; zero: there is none.
func (i *Idle) due() time.Time {
	if len(i.jobs) == 0 {
		return time.Time{}
	}
	first := &i.jobs[0]
	switch {
	case first.pool.atHand >= first.pool.width:
		return time.Now().Add(gatherFor) // or sooner, where one is done
	case len(i.jobs) >= ifma.BatchSize:
		return first.since
	}
	return first.since.Add(gatherFor)
}

// take takes what waits of a pool, for one operation. done gives the pool its place back.
func (i *Idle) take(jobs *[ifma.BatchSize]job) (p *Pool, n int) {
	if i.waiting.Load() == 0 {
		return nil, 0
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.jobs) == 0 || time.Until(i.due()) > 0 {
		return nil, 0
	}
	if p = i.jobs[0].pool; p.atHand >= p.width {
		return nil, 0
	}
	for n < min(len(i.jobs), len(jobs)) && i.jobs[n].pool == p {
		jobs[n] = i.jobs[n].job
		n++
	}
	clear(i.jobs[:n]) // they hold secrets' ways back
	i.jobs = i.jobs[n:]
	i.waiting.Store(int32(len(i.jobs)))
	p.aside.Add(-int32(n))
	p.atHand++
	return p, n
}

func (i *Idle) done(p *Pool) {
	i.mu.Lock()
	p.atHand--
	i.mu.Unlock()
}

// drop answers what waits of a closed pool.
func (i *Idle) drop(p *Pool) {
	var mine []job
	i.mu.Lock()
	var others []idleJob
	for _, j := range i.jobs {
		if j.pool == p {
			mine = append(mine, j.job)
		} else {
			others = append(others, j)
		}
	}
	i.jobs = others
	i.waiting.Store(int32(len(i.jobs)))
	p.aside.Add(-int32(len(mine)))
	i.mu.Unlock()
	for _, j := range mine {
		j.settle(nil, ErrClosed)
	}
}

// Stepper does what an [Idle] has. It belongs to one goroutine at a time.
type Stepper struct {
	idle  *Idle
	next  func() (bool, bool)
	stop  func()
	begun time.Time // the operation at hand; zero: none is
}

// Stepper returns another one. Close ends it.
func (i *Idle) Stepper() *Stepper {
	s := &Stepper{idle: i}
	s.next, s.stop = iter.Pull(s.steps)
	return s
}

// steps does operations, and yields in the middle of each: true, or false where there is none.
func (s *Stepper) steps(yield func(bool) bool) {
	batch := ifma.NewBatch()
	var jobs [ifma.BatchSize]job
	pause := func() { yield(true) } // false once it is to stop: the operation goes on to its end then
	for {
		p, n := s.idle.take(&jobs)
		if n == 0 {
			if !yield(false) {
				return
			}
			continue
		}
		s.begun = time.Now()
		p.open(batch, jobs[:n], pause)
		clear(jobs[:n])
		s.begun = time.Time{}
		s.idle.done(p)
		if !yield(true) {
			return
		}
	}
}

// Step does some 30 µs of an operation, and returns whether there was one to do. What was registered with [Secret.Then] runs
// in it.
func (s *Stepper) Step() bool {
	did, _ := s.next()
	return did
}

// Due returns when Step may have something to do, as far as that is known; zero: when more is asked for.
func (s *Stepper) Due() time.Time {
	switch {
	case !s.begun.IsZero():
		return s.begun
	case s.idle.waiting.Load() == 0:
		return time.Time{}
	}
	s.idle.mu.Lock()
	defer s.idle.mu.Unlock()
	return s.idle.due()
}

// Pressed reports whether operations pile up, or have waited too long for moments to spare.
func (s *Stepper) Pressed(now time.Time) bool {
	if !s.begun.IsZero() && now.Sub(s.begun) > overdueAfter {
		return true
	}
	if n := s.idle.waiting.Load(); n == 0 || n >= pressedAt {
		return n != 0
	}
	s.idle.mu.Lock()
	defer s.idle.mu.Unlock()
	return len(s.idle.jobs) > 0 && now.Sub(s.idle.jobs[0].since) > overdueAfter
}

// Close does the operation at hand to its end, if there is one, and no more. It may be called again.
func (s *Stepper) Close() { s.stop() }
