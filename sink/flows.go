// SPDX-License-Identifier: Apache-2.0

package sink

import "sync"

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

// put keeps the state of a flow.
func (t *flowTable[T]) put(id uint64, v *T) {
	s := &t.shards[id%flowShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[uint64]*T)
	}
	s.m[id] = v
}

// of returns the state of a flow, a new one if there is none.
func (t *flowTable[T]) of(id uint64) *T {
	v := t.get(id)
	if v == nil {
		v = new(T)
		t.put(id, v)
	}
	return v
}

// remove forgets a flow.
func (t *flowTable[T]) remove(id uint64) {
	s := &t.shards[id%flowShards]
	s.mu.Lock()
	delete(s.m, id)
	s.mu.Unlock()
}
