// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"sync"
	"sync/atomic"

	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// lateSessions has a flow that resumes a session which nobody knows look again a tick or two later. A socket hands over what it
// captured in blocks, and the flow that began the session may be in one of another socket that comes later.
type lateSessions struct {
	mu         sync.Mutex
	young, old lateSession
}

// lateSession is what all flows of one tick wait for.
type lateSession struct {
	secret *rsakex.Secret // of no session
	settle func(master []byte, err error)
}

// await returns what settles after more than a tick.
func (l *lateSessions) await() *rsakex.Secret {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.young.secret == nil {
		l.young.secret, l.young.settle = rsakex.NewSecret()
	}
	return l.young.secret
}

// tick has those look again who have waited for more than a tick. No shard is locked.
func (l *lateSessions) tick() {
	l.mu.Lock()
	due := l.old
	l.old, l.young = l.young, lateSession{}
	l.mu.Unlock()
	if due.secret != nil {
		due.settle(nil, nil)
	}
}

// fed looks after a flow whose session was fed, or went on: it may wait for the private key, or be
// one that cannot be read. The shard is locked.
func (s *Sniffer) fed(sh *shard, f *flow) {
	for f.eng != nil {
		secret := f.eng.Waiting()
		if secret == nil || secret == f.secret {
			break
		}
		f.secret = secret
		if !s.later(sh, f, secret) {
			break
		}
		f.eng.Resume(sh.t.time()) // it was ready after all
	}
	s.count(f)
	if s.o.Shunter != nil && f.eng != nil && !f.shunted && f.eng.Flow().Cause != session.CauseNone {
		s.shunt(sh, f)
	}
}

// count keeps the sum of what is queued for the private key, and its bound.
func (s *Sniffer) count(f *flow) {
	queued := 0
	if f.eng != nil {
		queued = f.eng.Backlog()
	}
	if queued == f.queued {
		return
	}
	sum := s.queued.Add(int64(queued - f.queued))
	f.queued = queued
	if sum > maxQueued && queued > 0 {
		f.eng.Fail(session.Overload, "too much waits for the private key", f.t.time())
		s.queued.Add(int64(-queued))
		f.queued = 0
	}
}

// later has the session go on when the secret is ready. It returns true if it is ready now: the
// shard's lock, which is held, must not be waited for then.
func (s *Sniffer) later(sh *shard, f *flow, secret *rsakex.Secret) bool {
	const (
		asking  = iota // Then has not returned
		ready          // before it did
		waiting        // and the secret is not ready
	)
	var state atomic.Int32
	secret.Then(func() {
		if !state.CompareAndSwap(asking, ready) {
			s.resume(sh, f, secret)
		}
	})
	return !state.CompareAndSwap(asking, waiting)
}

// resume is called by the private key's worker.
func (s *Sniffer) resume(sh *shard, f *flow, secret *rsakex.Secret) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f.over || f.eng == nil || f.secret != secret {
		return
	}
	sh.t.busy = f
	defer sh.t.guard()
	sh.t.enter(f)
	f.eng.Resume(sh.t.time())
	s.fed(sh, f)
	sh.t.settle(f)
}

// shunt has the kernel drop the flow from now on. What is on the way still comes, and so do the
// packets that end it.
func (s *Sniffer) shunt(sh *shard, f *flow) {
	flow := f.eng.Flow()
	if err := s.o.Shunter.Add(flow.Client, flow.Server); err != nil {
		return // it is captured as before
	}
	f.shunted = true
	s.shunted.Add(1)
}

// endOf is called when a flow has ended. It takes its addresses out of the shunt.
func (s *Sniffer) endOf(f *flow) {
	s.count(f)
	if f.shunted {
		c := int(f.client)
		// If it fails, the next SYN takes the flow out, or its time.
		s.o.Shunter.Remove(f.key.endpoint(c), f.key.endpoint(1-c))
	}
}
