// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"math/rand/v2"
	"time"
)

// One loop carries all, as long as it has time left: each of two would have less to do at a time, be woken more often for it, and
// wake the peers more often. A loop that works for more than busyPercent of a span, which is all the time but for accidents, shares
// in the next what it carries, with loops that have less to do.
const (
	busyPercent = 97
	busySpan    = 30 * time.Millisecond
)

// workload is how much of its time a loop works.
type workload struct {
	worked time.Duration // in the span that began, but for the chore in moments to spare
	idled  bool          // before this round: the sockets had nothing to tell at once
	since  time.Time
	busy   bool // in the one before
}

// weigh begins the next span when it is time.
func (w *workload) weigh(now time.Time) {
	if span := now.Sub(w.since); span >= busySpan {
		w.busy = w.worked > span/100*busyPercent
		w.since, w.worked = now, 0
	}
}

// enlist has the loop take connections as well as the first.
func (l *loop) enlist() {
	if !l.enlisted && !l.stopping {
		l.enlisted = true
		l.resumeAccepting(time.Now())
	}
}

// retire leaves the connections to the first loop.
func (l *loop) retire() {
	if l.enlisted && l != l.srv.loops[0] {
		l.pauseAccepting(time.Time{})
		l.enlisted = false
	}
}

// lighter returns a loop, chosen at random, if this one is busy and that has less to do.
func (l *loop) lighter() *loop {
	always := l.srv.cfg.alwaysShare
	if !l.busy && !always {
		return nil
	}
	other := l.srv.loops[rand.IntN(len(l.srv.loops))]
	if l.load.Load() > other.load.Load()+1 || always {
		return other
	}
	return nil
}

// share gives a flow that was just carried to a loop that has less to do, if this one is busy. It returns whether it did.
func (l *loop) share(f *flow) bool {
	other := l.lighter()
	if other == nil || !f.movable() {
		return false
	}
	l.move(f, other)
	return true
}

// handOver has another loop take a flow of this one's load. It returns false if that has ended, because the server stops.
func (l *loop) handOver(other *loop, take func()) bool {
	other.load.Add(1)
	if !other.post(take) {
		other.load.Add(-1)
		return false
	}
	l.load.Add(-1)
	return true
}

// move gives a flow to another loop. The sockets tell that one anew what there is.
func (l *loop) move(f *flow, other *loop) {
	for i := range f.legs {
		l.forget(&f.legs[i])
	}
	l.timers.remove(f)
	delete(l.flows, f)
	f.loop = other
	if !l.handOver(other, func() { other.adopt(f) }) {
		f.loop = l
		l.adopt(f)
	}
}

// adopt carries on a flow that another loop gave away.
func (l *loop) adopt(f *flow) {
	l.flows[f] = struct{}{}
	if l.hurry {
		f.shutdown()
		return
	}
	for i := range f.legs {
		if err := l.follow(&f.legs[i]); err != nil {
			f.broke(f.legs[i].side, err)
			return
		}
	}
	f.setTimer(time.Now())
}
