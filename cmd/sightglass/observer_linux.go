// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/session"
)

// sayEvery bounds how often one kind of trouble is told.
const sayEvery = 10 * time.Second

// observer tells people what goes wrong with connections, not more often than they can read.
type observer struct {
	relay.NopObserver
	e      *env
	dial   limiter
	limit  limiter
	accept limiter
	panics limiter
}

// limiter lets one through in sayEvery and counts the others.
type limiter struct {
	next   atomic.Int64 // nanoseconds since 1970
	passed atomic.Uint64
}

// allow says whether to speak now, and how many were silent before.
func (l *limiter) allow(now time.Time) (bool, uint64) {
	next := l.next.Load()
	if now.UnixNano() < next || !l.next.CompareAndSwap(next, now.Add(sayEvery).UnixNano()) {
		l.passed.Add(1)
		return false, 0
	}
	return true, l.passed.Swap(0)
}

func (o *observer) say(l *limiter, format string, args ...any) {
	ok, silent := l.allow(o.e.now())
	switch {
	case !ok:
	case silent > 0:
		o.e.warn(format+" (and %d more before)", append(args, silent)...)
	default:
		o.e.warn(format, args...)
	}
}

// DialFailed implements relay.Observer.
func (o *observer) DialFailed(client, target netip.AddrPort, err error) {
	o.say(&o.dial, "%v to %v: the server could not be reached, the client was reset: %v", client, target, err)
}

// Panicked implements relay.Observer.
func (o *observer) Panicked(f *session.Flow, value any, stack []byte) {
	o.say(&o.panics, "a fault of this program on flow %d (%v to %v), please report it: %v\n%s", f.ID, f.Client, f.Server, value, stack)
}

// OverLimit implements relay.Observer.
func (o *observer) OverLimit(client, target netip.AddrPort) {
	o.say(&o.limit, "%v to %v: reset, --max-flows is reached", client, target)
}

// AcceptFailed implements relay.Observer.
func (o *observer) AcceptFailed(err error) {
	o.say(&o.accept, "a connection could not be accepted: %v", err)
}
