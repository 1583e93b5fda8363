// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"errors"
	"fmt"

	"github.com/sightglass/sightglass/session"
)

// A Sink takes events and writes them somewhere. Event may be called for several flows at once,
// never twice at once for one flow, and not after Close.
type Sink interface {
	session.Handler
	// Name is the sink's name in messages and counters, such as "keylog".
	Name() string
	// Dropped counts the records that were not written: the consumer was too slow, or failed.
	Dropped() uint64
	// Flush returns when everything taken so far is visible to readers of the output.
	Flush() error
	// Close flushes, completes and closes the output. It returns the first error of the output.
	Close() error
}

// Fan hands each event to every one of its sinks, in order. It implements Sink.
type Fan struct {
	sinks []Sink
}

// NewFan returns a fan over sinks, which it owns.
func NewFan(sinks ...Sink) *Fan { return &Fan{sinks: sinks} }

// Sinks returns the fan's sinks. The slice must not be changed.
func (f *Fan) Sinks() []Sink { return f.sinks }

// Name returns "fan".
func (f *Fan) Name() string { return "fan" }

// Event hands e to every sink. It allocates nothing.
func (f *Fan) Event(e *session.Event) {
	for _, s := range f.sinks {
		s.Event(e)
	}
}

// Dropped returns the sum of all sinks' drops.
func (f *Fan) Dropped() uint64 {
	var n uint64
	for _, s := range f.sinks {
		n += s.Dropped()
	}
	return n
}

// Flush flushes every sink and joins their errors.
func (f *Fan) Flush() error { return f.each(Sink.Flush) }

// Close closes every sink and joins their errors.
func (f *Fan) Close() error { return f.each(Sink.Close) }

func (f *Fan) each(do func(Sink) error) error {
	var errs []error
	for _, s := range f.sinks {
		if err := do(s); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// base is what sinks that write through a queue have in common.
type base struct {
	name string
	q    *queue
}

// Name returns the sink's name.
func (b *base) Name() string { return b.name }

// Dropped counts the records that were not written.
func (b *base) Dropped() uint64 { return b.q.dropped.Load() }

// Flush returns when everything taken so far is visible to readers of the output.
func (b *base) Flush() error { return b.q.flush() }

// Close flushes, completes and closes the output.
func (b *base) Close() error { return b.q.close() }
