// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/session"
)

// Raw writes the plaintext and nothing else: of both sides, in the order in which it was said. What was
// lost is not there, and nothing tells the flows apart.
//
// It has no queue: whoever gives it events waits for the output, whatever the output's options say. Of what
// is written as it is, a copy for a queue would be most of the cost.
type Raw struct {
	out     *Output
	every   time.Duration
	dropped atomic.Uint64

	mu     sync.Mutex
	lasts  bool   // the data of events, until settle
	lent   []byte // if so: of events whose data stand one behind the other
	buf    []byte // what is short, until it is written together
	timer  *time.Timer
	err    error // the first
	closed bool
}

const (
	rawBuffer = 32 << 10 // bytes that are written together
	rawShort  = 4 << 10  // bytes; what is longer is written from where it is
)

// NewRaw returns a writer of plaintext on out.
func NewRaw(out *Output) *Raw {
	r := &Raw{out: out, every: out.opt.flushEvery()}
	r.mu.Lock() // the timer may be early
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(r.every, func() { _ = r.Flush() }) // Close has the error
	r.timer.Stop()
	return r
}

// Lasting is called before any event if the data of events last longer than Event: until settle is called, which takes
// what it needs of them. Data that stand one behind the other are written together then.
func (r *Raw) Lasting() (settle func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lasts = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.settle()
	}
}

func (r *Raw) settle() {
	if b := r.lent; len(b) > 0 {
		r.lent = nil
		r.put(b)
	}
}

// joins reports whether b stands right behind what is lent.
func (r *Raw) joins(b []byte) bool {
	n := len(r.lent)
	return n > 0 && n < cap(r.lent) && &r.lent[:n+1][n] == &b[0]
}

// Event writes the data of KindData.
func (r *Raw) Event(e *session.Event) {
	if e.Kind != session.KindData || len(e.Data) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed || r.err != nil:
		r.dropped.Add(1)
	case !r.lasts:
		r.put(e.Data)
	case r.joins(e.Data):
		r.lent = r.lent[:len(r.lent)+len(e.Data)]
	default:
		r.settle()
		r.lent = e.Data
	}
}

// put writes b, or keeps a copy of it for a moment.
func (r *Raw) put(b []byte) {
	if len(r.buf)+len(b) > rawBuffer || len(b) > rawShort {
		r.drain()
	}
	switch {
	case r.err != nil:
		r.dropped.Add(1)
	case len(b) > rawShort:
		r.write(b)
	default:
		if len(r.buf) == 0 {
			r.timer.Reset(r.every)
		}
		r.buf = append(r.buf, b...)
	}
}

func (r *Raw) drain() {
	if len(r.buf) > 0 {
		r.timer.Stop()
		r.write(r.buf)
		r.buf = r.buf[:0]
	}
}

func (r *Raw) write(b []byte) {
	if _, err := r.out.w.Write(b); err != nil {
		r.dropped.Add(1)
		r.err = fmt.Errorf("output %s: %w", r.out.path, err)
	}
}

// Name returns "raw".
func (r *Raw) Name() string { return "raw" }

// Dropped counts the writes that failed, and the pieces that came after.
func (r *Raw) Dropped() uint64 { return r.dropped.Load() }

// Flush writes what was kept back for a moment.
func (r *Raw) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settle()
	r.drain()
	return r.err
}

// Close flushes and closes the output.
func (r *Raw) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return r.err
	}
	r.closed = true
	r.settle()
	r.drain()
	return errors.Join(r.err, r.out.Discard())
}
