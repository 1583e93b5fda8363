// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"iter"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Idle has private operations done by goroutines that have a moment to spare, a bit at a time: those that can be interrupted.
// Pools share it, see [Manners]. It wakes nobody: who asks for a secret looks at the Due of a [Stepper] of its own then. It is
// safe for concurrent use.
type Idle struct {
	// For who only looks, in nanoseconds since epoch; zero: nothing waits.
	waiting atomic.Int32 // how many jobs there are
	oldest  atomic.Int64 // when the first of them came
	hasty   atomic.Bool  // that was hastened
	due     atomic.Int64 // when it may be taken; never: when an operation that is at hand is done

	mu    sync.Mutex
	jobs  []idleJob // from taken on those hastened first, and of either the oldest; each pool bounds its own
	taken int       // of jobs, and cleared
}

type idleJob struct {
	job
	pool     *Pool
	since    int64
	hastened bool
}

const never = math.MaxInt64

// epoch is what times are told from.
var epoch = time.Now()

func sinceEpoch(t time.Time) int64 { return int64(t.Sub(epoch)) }

// gatherIdle is how long a request waits for others, see [gatherFor]: nobody waits for it. Where there are few handshakes, as many
// operations as go together become one.
const gatherIdle = 20 * time.Millisecond

// So long an operation may wait for moments to spare, and so many requests. Meanwhile no more is lost than that their flows are read
// late: where all want the processors at once, or these do less for a while, the private key is what can wait.
const (
	overdueAfter = time.Second
	piledUpAt    = 3000
)

// idlePlaces is how many requests of a pool may wait: several times what piles up before they are not put off any more.
const idlePlaces = 16 << 10

// put queues a job of a pool that is not closed.
func (i *Idle) put(p *Pool, j job) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if int(p.aside.Load()) >= p.places {
		return ErrOverload
	}
	i.jobs = append(i.jobs, idleJob{j, p, sinceEpoch(time.Now()), false})
	p.aside.Add(1)
	i.publish()
	return nil
}

// left returns the jobs that nobody took yet, with mu held.
func (i *Idle) left() []idleJob { return i.jobs[i.taken:] }

// hasten has a job go before those that were not hastened.
func (i *Idle) hasten(s *Secret) {
	i.mu.Lock()
	defer i.mu.Unlock()
	jobs := i.left()
	at := slices.IndexFunc(jobs, func(j idleJob) bool { return j.of == s })
	if at < 0 {
		return // it was taken, or never put
	}
	j := jobs[at]
	j.hastened = true
	first := slices.IndexFunc(jobs, func(j idleJob) bool { return !j.hastened })
	copy(jobs[first+1:], jobs[first:at])
	jobs[first] = j
	i.publish()
}

// publish tells those who only look what has become of jobs, with mu held.
func (i *Idle) publish() {
	jobs := i.left()
	i.waiting.Store(int32(len(jobs)))
	if len(jobs) == 0 {
		i.hasty.Store(false)
		i.oldest.Store(0)
		i.due.Store(0)
		return
	}
	first := &jobs[0]
	due := first.since
	switch {
	case first.pool.atHand >= first.pool.width:
		due = never
	case !first.hastened && len(jobs) < batchSize:
		due += int64(gatherIdle)
	}
	i.hasty.Store(first.hastened)
	i.oldest.Store(first.since)
	i.due.Store(due)
}

// take takes what waits of a pool, for one operation, and returns since when that was due, and whether some of it was hastened. done
// gives the pool its place back.
func (i *Idle) take(jobs *[maxBatch]job) (p *Pool, n int, due time.Time, hastened bool) {
	if !i.isDue(time.Now()) {
		return nil, 0, due, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.isDue(time.Now()) {
		return nil, 0, due, false // somebody else was faster
	}
	due = epoch.Add(time.Duration(i.due.Load()))
	left := i.left()
	p, hastened = left[0].pool, left[0].hastened
	for n < min(len(left), batchSize) && left[n].pool == p {
		jobs[n] = left[n].job
		n++
	}
	clear(left[:n])
	if i.taken += n; i.taken >= len(i.jobs)/2 { // to move them each time would cost the more, the more wait
		i.jobs, i.taken = slices.Delete(i.jobs, 0, i.taken), 0 // the places behind are cleared, and used again
	}
	p.aside.Add(-int32(n))
	p.atHand++
	i.publish()
	return p, n, due, hastened
}

// isDue reports whether something may be taken, as far as is known.
func (i *Idle) isDue(now time.Time) bool {
	due := i.due.Load()
	return due != 0 && due != never && due <= sinceEpoch(now)
}

func (i *Idle) done(p *Pool) {
	i.mu.Lock()
	p.atHand--
	i.publish()
	i.mu.Unlock()
}

// drop answers what waits of a closed pool.
func (i *Idle) drop(p *Pool) {
	var mine []job
	i.mu.Lock()
	var others []idleJob
	for _, j := range i.left() {
		if j.pool == p {
			mine = append(mine, j.job)
		} else {
			others = append(others, j)
		}
	}
	i.jobs, i.taken = others, 0
	p.aside.Add(-int32(len(mine)))
	i.publish()
	i.mu.Unlock()
	for _, j := range mine {
		j.settle(nil, ErrClosed)
	}
}

// Stepper does what an [Idle] has. It belongs to one goroutine at a time, which is locked to a thread always or never.
type Stepper struct {
	idle *Idle
	next func() (bool, bool)
	stop func()
	due  time.Time // since when the operation at hand was; zero: none is

	hastened bool // and some of it is waited for
}

// Stepper returns another one. Close ends it.
func (i *Idle) Stepper() *Stepper {
	s := &Stepper{idle: i}
	s.next, s.stop = iter.Pull(s.steps)
	return s
}

// steps does operations, and yields in the middle of each: true, or false where there is none.
func (s *Stepper) steps(yield func(bool) bool) {
	batch := newFastBatch()
	var jobs [maxBatch]job
	pause := func() { yield(true) } // false once it is to stop: the operation goes on to its end then
	for {
		p, n, due, hastened := s.idle.take(&jobs)
		if n == 0 {
			if !yield(false) {
				return
			}
			continue
		}
		s.due, s.hastened = due, hastened
		p.open(batch, jobs[:n], pause)
		clear(jobs[:n])
		s.due, s.hastened = time.Time{}, false
		s.idle.done(p)
		if !yield(true) {
			return
		}
	}
}

// Step does 8 to 40 µs of an operation, the last of it with what becomes of the premasters, and returns whether there was one to
// do. What was registered with [Secret.Then] runs in it.
func (s *Stepper) Step() bool {
	did, _ := s.next()
	return did
}

// Due returns since or from when Step has something to do, as far as that is known; zero: nothing waits.
func (s *Stepper) Due() time.Time {
	if !s.due.IsZero() {
		return s.due
	}
	switch due := s.idle.due.Load(); due {
	case 0:
		return time.Time{}
	case never: // who does the operation looks again; if it ends, others have to
		return time.Now().Add(gatherFor)
	default:
		return epoch.Add(time.Duration(due))
	}
}

// Pressed reports whether operations pile up, have waited too long for moments to spare, or were hastened.
func (s *Stepper) Pressed(now time.Time) bool {
	if s.hastened || s.idle.hasty.Load() {
		return true
	}
	if !s.due.IsZero() && now.Sub(s.due) > overdueAfter {
		return true
	}
	oldest := s.idle.oldest.Load()
	return s.idle.waiting.Load() >= piledUpAt || oldest != 0 && sinceEpoch(now)-oldest > int64(overdueAfter)
}

// Spare reports whether another stepper could begin an operation.
func (s *Stepper) Spare(now time.Time) bool { return s.idle.isDue(now) }

// Close does the operation at hand to its end, if there is one, and no more. It may be called again.
func (s *Stepper) Close() { s.stop() }
