// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultQueue is how many requests wait in a Pool unless told otherwise: at a millisecond each on
// one processor, a second's worth.
const DefaultQueue = 1024

// Pool opens premaster secrets in this process on a fixed number of goroutines, or in moments to spare, behind a bounded
// queue. Where the keys allow it, a goroutine opens several side by side, which takes less time for each.
type Pool struct {
	ring    *Ring
	queue   chan job
	workers sync.WaitGroup
	width   int // how many may be at it

	idle   *Idle        // takes what can be interrupted; nil: the workers do
	places int          // how many may wait there
	aside  atomic.Int32 // how many do
	atHand int          // operations that are done there; guarded by its mu

	taking sync.Mutex    // held by the goroutine that takes requests from the queue, and waits for more
	timer  *time.Timer   // of that goroutine
	enough chan struct{} // there may be a batch in the queue

	telling sync.Mutex // held by the goroutine that tells the workers whether they are pressed
	tell    []func(pressed bool)
	pressed atomic.Bool
	starved atomic.Int64 // when workers last were, in nanoseconds since 1970

	mu     sync.RWMutex // held for reading while sending to queue
	closed bool
}

type job struct {
	request Request
	settle  func([]byte, error)
	of      *Secret
}

// Manners is how the work of a pool gives way to others that want the processors. All of it may be left out.
type Manners struct {
	// Prepare is called by each worker, on its own goroutine, before its first request. What it returns, if that is not nil, is
	// called from any goroutine as long as the worker runs: with true when giving way leaves too little, as requests pile up or
	// one takes very long, and with false when that is over.
	Prepare func() (pressed func(bool))
	// Idle has the requests done whose operation can be interrupted, and the workers the others: those of crypto/rsa have no
	// middle. No more operations are done there at once than there are workers, of up to four requests each, and no more than 16,384
	// requests of a pool wait there.
	Idle *Idle
}

// NewPool starts a pool. Zero or fewer workers means one a processor that Go may use, zero or fewer
// places in the queue DefaultQueue. Close ends it.
func NewPool(ring *Ring, workers, queue int, manners Manners) *Pool {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if queue <= 0 {
		queue = DefaultQueue
	}
	p := newPool(ring, queue)
	p.width, p.idle, p.places = workers, manners.Idle, idlePlaces
	if p.idle != nil && ring.Interruptible() {
		return p // nothing is left to workers
	}
	p.workers.Add(workers)
	for range workers {
		go p.work(manners.Prepare)
	}
	return p
}

func newPool(ring *Ring, queue int) *Pool {
	return &Pool{
		ring: ring, queue: make(chan job, queue), places: queue,
		timer: time.NewTimer(gatherFor), enough: make(chan struct{}, 1),
	}
}

func (p *Pool) work(prepare func() (pressed func(bool))) {
	defer p.workers.Done()
	if prepare != nil {
		if pressed := prepare(); pressed != nil {
			p.telling.Lock()
			p.tell = append(p.tell, pressed)
			p.telling.Unlock()
		}
	}
	batch := newFastBatch()
	var jobs [maxBatch]job
	for n := p.take(&jobs); n > 0; n = p.take(&jobs) {
		begun := time.Now()
		p.open(batch, jobs[:n], nil)
		clear(jobs[:n])
		if now := time.Now(); now.Sub(begun) > starvedAfter {
			p.starved.Store(now.UnixNano())
			p.press(true)
		}
	}
}

// take waits for a job, and a while for others to go with it if its key allows that. It returns how many there are;
// none if the pool is closed. One goroutine at a time takes, lest several share what would make one batch.
func (p *Pool) take(jobs *[maxBatch]job) int {
	p.taking.Lock()
	defer p.taking.Unlock()
	j, ok := <-p.queue
	if !ok {
		return 0
	}
	jobs[0] = j
	if p.ring.inBatch(j.request.Key) {
		p.gather()
	}
	n := p.more(jobs)
	if p.pressed.Load() && len(p.queue) == 0 && time.Since(time.Unix(0, p.starved.Load())) > starvedFor {
		p.press(false)
	}
	return n
}

// gatherFor is how long a request waits for others. Only the reading waits with it, and as many as go together cost the
// processor no more than one or two one by one. A busy box has them in less time.
const gatherFor = 3 * time.Millisecond

// gather waits until the queue has what makes a whole batch with the job just taken from it, or for gatherFor.
func (p *Pool) gather() {
	p.timer.Reset(gatherFor)
	defer p.timer.Stop()
	for len(p.queue) < batchSize-1 && !p.isClosed() {
		select {
		case <-p.enough: // or there was, before
		case <-p.timer.C:
			return
		}
	}
}

// more takes jobs from the queue to go with the first, as far as they fit in a batch. It does not wait. It returns
// how many there are.
func (p *Pool) more(jobs *[maxBatch]job) int {
	n := 1
	for n < batchSize && p.ring.inBatch(jobs[n-1].request.Key) {
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

// open settles jobs, of which only the last may not be for a batch. It calls pause, unless that is nil, in the middle of what has
// one.
func (p *Pool) open(b *fastBatch, jobs []job, pause func()) {
	n := len(jobs)
	if !p.ring.inBatch(jobs[n-1].request.Key) {
		n--
	}
	if b.worth(n) && !p.isClosed() {
		var qs [maxBatch]*Request
		for i := range n {
			qs[i] = &jobs[i].request
		}
		masters := p.ring.openBatch(b, qs[:n], pause)
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
		j.settle(p.ring.open(&j.request, pause))
	}
}

func (p *Pool) isClosed() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.closed
}

// MasterSecret returns a secret that is queued when it is started, and never blocks. When the queue is
// full then, the secret fails with ErrOverload, and after Close with ErrClosed. What was registered with
// [Secret.Then] runs on the pool's goroutines, or where the secret is started, or in a [Stepper].
func (p *Pool) MasterSecret(q Request) *Secret {
	s, settle := NewSecret()
	s.idle = p.idle
	s.start = func() {
		if err := p.enqueue(job{q, settle, s}); err != nil {
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
	switch {
	case p.idle == nil:
	case p.ring.inBatch(j.request.Key):
		return p.idle.put(p, j)
	case p.ring.key(j.request.Key) == nil:
		return ErrNoKey // there may be no worker to find that out
	}
	select {
	case p.queue <- j:
		if len(p.queue) >= batchSize-1 {
			p.stopGathering()
		}
		if len(p.queue) >= pressedAt {
			p.tellAll(true)
		}
		return nil
	default:
		return ErrOverload
	}
}

// Workers that give way are pressed when so many requests wait, until none does, and for a while when one takes so
// long for what takes a processor half a millisecond: others want the processors all the time. On a box that is just busy
// the slowest of 9,600 took less than 66 ms.
const (
	pressedAt    = 32
	starvedAfter = 100 * time.Millisecond
	starvedFor   = 10 * time.Second
)

// press tells the workers whether they are pressed.
func (p *Pool) press(pressed bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	p.tellAll(pressed)
}

// tellAll is press with p.mu held, so that no worker has ended unless the pool is closed. It waits for nobody who does
// the same, and may have to give way: the next request looks again.
func (p *Pool) tellAll(pressed bool) {
	if p.closed || p.pressed.Load() == pressed || !p.telling.TryLock() {
		return
	}
	defer p.telling.Unlock()
	p.pressed.Store(pressed)
	for _, tell := range p.tell {
		tell(pressed)
	}
}

// stopGathering has gather look again.
func (p *Pool) stopGathering() {
	select {
	case p.enough <- struct{}{}:
	default: // it will
	}
}

// Waiting returns how many requests wait.
func (p *Pool) Waiting() int { return len(p.queue) + int(p.aside.Load()) }

// Filled returns how much of the queue is taken, or of an Idle's places if that is more: from 0 to 1.
func (p *Pool) Filled() float64 {
	return max(float64(len(p.queue))/float64(cap(p.queue)), float64(p.aside.Load())/float64(p.places))
}

// Close refuses new requests, answers those that wait with ErrClosed, and returns when the last
// worker has ended; a [Stepper] may have an operation at hand then. It may be called again, and must not be called from a function registered with
// [Secret.Then].
func (p *Pool) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.queue)
		p.stopGathering()
	}
	p.mu.Unlock()
	if p.idle != nil {
		p.idle.drop(p)
	}
	p.workers.Wait()
}
