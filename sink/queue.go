// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Order says how records of different flows are ordered in one output. Records of one flow always
// keep their order.
type Order uint8

// The orders.
const (
	// OrderNone writes records as they come.
	OrderNone Order = iota
	// OrderLive sorts by time what comes within two flush intervals.
	OrderLive
	// OrderGiven keeps the order in which one goroutine gives the records of all flows.
	OrderGiven
)

// flushEvery is FlushEvery as it is meant.
func (o *Options) flushEvery() time.Duration {
	if o.FlushEvery <= 0 {
		return defaultFlush
	}
	return min(o.FlushEvery, maxFlush)
}

// Limits of a queue.
const (
	chunkSize     = 64 << 10
	chunkFrames   = 512 // most records of one chunk
	chunkCost     = chunkSize + chunkFrames*int(unsafe.Sizeof(frame{}))
	defaultBuffer = 8 << 20
	defaultFlush  = 250 * time.Millisecond
	maxFlush      = time.Second
	maxShards     = 16
	sweepChunks   = 8 // chunks taken between two looks at the memory bound
)

// Options say how an output treats its writers and readers. The zero value suits live use.
type Options struct {
	// Lossless makes writers wait for a slow output. Otherwise what it misses is dropped and
	// counted.
	Lossless bool
	// Order is the order of records of different flows.
	Order Order
	// Buffer bounds the memory, in bytes, between writers and output, ordering included. Zero is
	// 8 MiB.
	Buffer int
	// FlushEvery is the longest time for which records stay in memory. Zero is 250 ms; over 1 s
	// is 1 s.
	FlushEvery time.Duration
	// Append continues an existing file instead of replacing it.
	Append bool
	// RotateSize starts a new file before one would exceed it, in bytes. Zero: never.
	RotateSize int64
	// RotateTime starts a new file when a record is so much later than the file's first. Zero: never.
	RotateTime time.Duration
	// Failed, if set, is told once, by another goroutine, why nothing more is written. Close returns the same.
	Failed func(error)
}

// A record is one indivisible piece of output.
type record struct {
	time int64 // nanoseconds since 1970
	flow uint64
	tag  uint32 // the sink's own
	data []byte
}

// A consumer takes records on the queue's own goroutine.
type consumer interface {
	// record takes one record; its data may be changed but not appended to, and is valid until settle.
	record(r record) error
	// settle lets go of the data of all records taken.
	settle() error
	// flush makes all records visible.
	flush() error
	close() error
	// unwritten returns how many records were taken, and not written yet.
	unwritten() int
}

// A chunk is memory for records, which stand in it one behind the other, so that those which stay
// together need no further copy.
type chunk struct {
	buf    []byte
	frames []frame
	live   int // records held for ordering; only the queue's goroutine looks
}

// A frame is what is known of a record.
type frame struct {
	time int64
	flow uint64
	tag  uint32
	end  uint32 // of its data, which begins where the data before it ends
}

func (ch *chunk) fits(n int) bool {
	return cap(ch.buf)-len(ch.buf) >= n && len(ch.frames) < chunkFrames
}

// record returns the i-th record.
func (ch *chunk) record(i int) record {
	f, from := &ch.frames[i], uint32(0)
	if i > 0 {
		from = ch.frames[i-1].end
	}
	return record{time: f.time, flow: f.flow, tag: f.tag, data: ch.buf[from:f.end]}
}

// queue brings records from many flows to one consumer.
//
// Flows are spread over shards by their ID. A shard is a mutex around a memcpy into the shard's
// current chunk; so two flows meet only when they share a shard, and for the time of a copy. (30 ns a
// record of 100 bytes and 70 ns one of 1460, the writing included, on two cores: BenchmarkQueue.)
// Full chunks go through a channel that has room for all chunks there are, so handing one on never
// blocks; only getting an empty one may, and no lock is held meanwhile.
type queue struct {
	opt     Options
	c       consumer
	shards  []shard
	limit   int // chunks in existence at most
	made    atomic.Int32
	free    chan *chunk
	full    chan *chunk
	ctl     chan request
	done    chan struct{}
	dropped atomic.Uint64
	err     error // first error; the goroutine's, published by done or a reply
	once    sync.Once

	// The goroutine's own.
	heap   recordHeap
	pinned int   // chunks that the heap refers to
	taken  int   // chunks since the last sweep
	newest int64 // latest time seen, OrderLive
	ripe   int64 // newest as of the last tick
	dirty  bool  // records since the last flush
	seq    uint64
}

type shard struct {
	mu     sync.Mutex
	cur    *chunk
	closed bool
	_      [104]byte // a cache line pair of its own
}

type request struct {
	reply chan error
	close bool
}

// newQueue starts the queue's goroutine, which ends with close.
func newQueue(opt Options, c consumer) *queue {
	if opt.Buffer <= 0 {
		opt.Buffer = defaultBuffer
	}
	opt.FlushEvery = opt.flushEvery()
	n := 1
	for opt.Order != OrderGiven && n < runtime.GOMAXPROCS(0)*2 && n < maxShards {
		n *= 2
	}
	least := 4 * n
	if opt.Order == OrderLive {
		least += 2 * sweepChunks // for what the heap holds
	}
	limit := max(opt.Buffer/chunkCost, least)
	q := &queue{
		opt: opt, c: c, limit: limit,
		shards: make([]shard, n),
		free:   make(chan *chunk, limit),
		full:   make(chan *chunk, limit),
		ctl:    make(chan request),
		done:   make(chan struct{}),
	}
	q.newest, q.ripe = math.MinInt64, math.MinInt64
	go q.run()
	return q
}

// put queues one record made of a, b and c. It copies them, allocates nothing and, without
// Lossless, never waits.
func (q *queue) put(t int64, flow uint64, tag uint32, a, b, c []byte) {
	n := len(a) + len(b) + len(c)
	s := &q.shards[flow&uint64(len(q.shards)-1)]
	s.mu.Lock()
	ch := s.cur
	if s.closed || ch == nil || !ch.fits(n) {
		if ch = q.turn(s, n); ch == nil {
			s.mu.Unlock()
			q.dropped.Add(1)
			return
		}
	}
	ch.buf = append(append(append(ch.buf, a...), b...), c...)
	ch.frames = append(ch.frames, frame{t, flow, tag, uint32(len(ch.buf))})
	s.mu.Unlock()
}

// turn gives the locked shard a chunk with room for n bytes, or returns nil: none is free, or the
// queue is closed.
func (q *queue) turn(s *shard, n int) *chunk {
	for !s.closed {
		if ch := s.cur; ch != nil {
			if ch.fits(n) {
				return ch // another flow of this shard turned it while the lock was open
			}
			s.cur = nil
			q.full <- ch
		}
		ch := q.empty()
		if ch == nil {
			if !q.opt.Lossless {
				return nil
			}
			s.mu.Unlock()
			ch = <-q.free
			s.mu.Lock()
		}
		if s.closed || s.cur != nil {
			q.free <- ch
			continue
		}
		if cap(ch.buf) < n {
			ch.buf = make([]byte, 0, n) // rare: one record larger than a chunk
		}
		s.cur = ch
		return ch
	}
	return nil
}

// empty returns a free or new chunk, or nil.
func (q *queue) empty() *chunk {
	select {
	case ch := <-q.free:
		return ch
	default:
	}
	if int(q.made.Add(1)) > q.limit {
		q.made.Add(-1)
		return nil
	}
	return &chunk{buf: make([]byte, 0, chunkSize)}
}

// recycle returns a chunk that only the consumer still refers to.
func (q *queue) recycle(ch *chunk) {
	q.note(q.c.settle())
	if cap(ch.buf) > chunkSize {
		ch.buf = make([]byte, 0, chunkSize)
	}
	ch.buf, ch.frames = ch.buf[:0], ch.frames[:0]
	q.free <- ch
}

func (q *queue) flush() error { return q.ask(false) }

func (q *queue) close() error {
	var err error
	q.once.Do(func() { err = q.ask(true) })
	return err
}

func (q *queue) ask(close bool) error {
	r := request{reply: make(chan error, 1), close: close}
	select {
	case q.ctl <- r:
		return <-r.reply
	case <-q.done:
		return q.err
	}
}

// run is the queue's goroutine.
func (q *queue) run() {
	defer close(q.done)
	tick := time.NewTicker(q.opt.FlushEvery)
	defer tick.Stop()
	q.note(q.c.flush()) // what stands before the first record is there at once
	for {
		select {
		case ch := <-q.full:
			q.take(ch)
			q.sweep(false)
		case <-tick.C:
			q.sweep(true)
			q.write(false)
		case r := <-q.ctl:
			if r.close {
				q.finish()
				r.reply <- q.err
				return
			}
			q.sweep(true)
			q.write(true)
			r.reply <- q.err
		}
	}
}

// finish takes what is left, in order, and closes the consumer.
func (q *queue) finish() {
	for i := range q.shards {
		s := &q.shards[i]
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
	q.collect()
	q.release(math.MaxInt64)
	q.note(q.c.flush())
	q.note(q.c.close())
}

// write makes all released records visible. Under OrderLive, all that were there before the last
// tick are released first; with all set, every one is.
func (q *queue) write(all bool) {
	if q.opt.Order == OrderLive {
		if all {
			q.ripe = q.newest
		}
		if q.ripe != math.MinInt64 {
			q.release(q.ripe + 1)
		}
		q.ripe = q.newest
	}
	if q.dirty {
		q.dirty = false
		q.note(q.c.flush())
	}
}

// sweep applies the memory bound.
func (q *queue) sweep(now bool) {
	if q.opt.Order != OrderLive {
		if now {
			q.collect()
		}
		return
	}
	if !now && q.taken < sweepChunks {
		return
	}
	q.collect()
	q.taken = 0
	// Writers must find chunks: the oldest records go first.
	for room := q.limit - len(q.shards) - sweepChunks - 2; q.pinned > room; {
		q.deliver()
	}
}

// collect takes all that writers had put before the call.
func (q *queue) collect() {
	for i := range q.shards {
		s := &q.shards[i]
		s.mu.Lock()
		if s.cur != nil && len(s.cur.buf) > 0 {
			q.full <- s.cur
			s.cur = nil
		}
		s.mu.Unlock()
	}
	for range q.limit {
		select {
		case ch := <-q.full:
			q.take(ch)
		default:
			return
		}
	}
}

// take hands a chunk's records on, or holds them for ordering.
func (q *queue) take(ch *chunk) {
	for i := range ch.frames {
		if q.opt.Order != OrderLive {
			q.give(ch.record(i))
			continue
		}
		f := &ch.frames[i]
		q.newest = max(q.newest, f.time)
		q.seq++
		q.heap.push(held{time: f.time, flow: f.flow, seq: q.seq, i: i, ch: ch})
		ch.live++
	}
	if ch.live > 0 {
		q.pinned++
		q.taken++
		return
	}
	q.recycle(ch)
}

// release delivers the held records earlier than t.
func (q *queue) release(t int64) {
	for len(q.heap) > 0 && (q.heap[0].time < t || t == math.MaxInt64) {
		q.deliver()
	}
}

// deliver hands on the earliest held record.
func (q *queue) deliver() {
	h := q.heap.pop()
	q.give(h.ch.record(h.i))
	if h.ch.live--; h.ch.live == 0 {
		q.pinned--
		q.recycle(h.ch)
	}
}

func (q *queue) give(r record) {
	if q.err != nil {
		q.dropped.Add(1)
		return
	}
	q.dirty = true
	if err := q.c.record(r); err != nil {
		q.dropped.Add(1)
		q.note(err)
	}
}

// note keeps the consumer's first error: an output that failed once stays failed, and its records
// count as dropped.
func (q *queue) note(err error) {
	if err == nil || q.err != nil {
		return
	}
	q.err = err
	q.dropped.Add(uint64(q.c.unwritten()))
	if q.opt.Failed != nil {
		q.opt.Failed(err)
	}
}
