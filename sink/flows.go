// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"sync"

	"github.com/sightglass/sightglass/session"
)

const flowShards = 64

// flowTable keeps a sink's state of each open flow. A flow's events never come twice at once, so
// its state needs no lock; finding it takes a read lock on a 64th of the flows.
type flowTable[T any] struct {
	shards [flowShards]struct {
		mu sync.RWMutex
		m  map[uint64]*T
	}
}

// get returns the state of a flow, nil when there is none.
func (t *flowTable[T]) get(id uint64) *T {
	s := &t.shards[id%flowShards]
	s.mu.RLock()
	v := s.m[id]
	s.mu.RUnlock()
	return v
}

// of returns the state of e's flow. It makes one when there is none, and forgets it with the
// flow's last event, for which it is returned a last time.
func (t *flowTable[T]) of(e *session.Event) *T {
	s := &t.shards[e.Flow.ID%flowShards]
	if e.Kind != session.KindEnd {
		if v := t.get(e.Flow.ID); v != nil {
			return v
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.m[e.Flow.ID]
	if v == nil {
		v = new(T)
	}
	if e.Kind == session.KindEnd {
		delete(s.m, e.Flow.ID)
		return v
	}
	if s.m == nil {
		s.m = make(map[uint64]*T)
	}
	s.m[e.Flow.ID] = v
	return v
}

// remove forgets a flow.
func (t *flowTable[T]) remove(id uint64) {
	s := &t.shards[id%flowShards]
	s.mu.Lock()
	delete(s.m, id)
	s.mu.Unlock()
}
