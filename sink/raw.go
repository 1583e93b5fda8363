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

// Event writes the data of KindData.
func (r *Raw) Event(e *session.Event) {
	if e.Kind != session.KindData || len(e.Data) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.buf)+len(e.Data) > rawBuffer || len(e.Data) > rawShort {
		r.drain()
	}
	switch {
	case r.closed || r.err != nil:
		r.dropped.Add(1)
	case len(e.Data) > rawShort:
		r.write(e.Data)
	default:
		if len(r.buf) == 0 {
			r.timer.Reset(r.every)
		}
		r.buf = append(r.buf, e.Data...)
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
	r.drain()
	return errors.Join(r.err, r.out.Discard())
}
