// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"runtime"
	"sync"

	"github.com/sightglass/sightglass/rsakex/internal/ifma"
)

// DefaultQueue is how many requests wait in a Pool unless told otherwise: at a millisecond each on
// one processor, a second's worth.
const DefaultQueue = 1024

// Pool opens premaster secrets in this process on a fixed number of goroutines, behind a bounded
// queue. Where some wait whose keys allow it, a goroutine opens several side by side, which takes less
// time for each.
type Pool struct {
	ring    *Ring
	queue   chan job
	workers sync.WaitGroup

	mu     sync.RWMutex // held for reading while sending to queue
	closed bool
}

type job struct {
	request Request
	settle  func([]byte, error)
}

// NewPool starts a pool. Zero or fewer workers means one a processor that Go may use, zero or fewer
// places in the queue DefaultQueue. Each worker calls prepare, on its own goroutine, before its first
// request: to give way to others, for instance. Close ends it.
func NewPool(ring *Ring, workers, queue int, prepare ...func()) *Pool {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if queue <= 0 {
		queue = DefaultQueue
	}
	p := &Pool{ring: ring, queue: make(chan job, queue)}
	p.workers.Add(workers)
	for range workers {
		go p.work(prepare)
	}
	return p
}

func (p *Pool) work(prepare []func()) {
	defer p.workers.Done()
	for _, f := range prepare {
		f()
	}
	batch := ifma.NewBatch()
	for j := range p.queue {
		jobs := [ifma.BatchSize]job{j}
		p.open(batch, jobs[:p.more(&jobs)])
	}
}

// more takes jobs from the queue to go with the first, as far as they fit in a batch and there are enough to
// make one. It does not wait. It returns how many there are.
func (p *Pool) more(jobs *[ifma.BatchSize]job) int {
	n := 1
	if n+len(p.queue) < ifma.BatchWorth {
		return n
	}
	for n < len(jobs) && p.ring.inBatch(jobs[n-1].request.Key) {
		select {
		case j, ok := <-p.queue:
			if !ok {
				return n
			}
			jobs[n] = j
			n++
		default:
			return n
		}
	}
	return n
}

// open settles jobs, of which only the last may not be for a batch.
func (p *Pool) open(batch *ifma.Batch, jobs []job) {
	n := len(jobs)
	if !p.ring.inBatch(jobs[n-1].request.Key) {
		n--
	}
	if n >= ifma.BatchWorth && !p.isClosed() {
		var qs [ifma.BatchSize]*Request
		for i := range n {
			qs[i] = &jobs[i].request
		}
		masters := p.ring.openBatch(batch, qs[:n])
		for i, j := range jobs[:n] {
			j.settle(masters[i], nil)
		}
		jobs = jobs[n:]
	}
	for i := range jobs {
		j := &jobs[i]
		if p.isClosed() {
			j.settle(nil, ErrClosed)
			continue
		}
		j.settle(p.ring.open(&j.request))
	}
}

func (p *Pool) isClosed() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.closed
}

// MasterSecret returns a secret that is queued when it is started, and never blocks. When the queue is
// full then, the secret fails with ErrOverload, and after Close with ErrClosed. What was registered with
// [Secret.Then] runs on the pool's goroutines, or where the secret is started.
func (p *Pool) MasterSecret(q Request) *Secret {
	s, settle := NewSecret()
	s.start = func() {
		if err := p.enqueue(job{q, settle}); err != nil {
			settle(nil, err)
		}
	}
	return s
}

func (p *Pool) enqueue(j job) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	select {
	case p.queue <- j:
		return nil
	default:
		return ErrOverload
	}
}

// Waiting returns how many requests are in the queue.
func (p *Pool) Waiting() int { return len(p.queue) }

// Close refuses new requests, answers those that wait with ErrClosed, and returns when the last
// worker has ended. It may be called again, and must not be called from a function registered with
// [Secret.Then].
func (p *Pool) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.queue)
	}
	p.mu.Unlock()
	p.workers.Wait()
}
