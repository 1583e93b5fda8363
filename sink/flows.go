// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"sync"
	"time"
)

const flowShards = 64

// FlowTable keeps a sink's state of each open flow. A flow's events never come twice at once, so
// its state needs no lock; finding it takes a read lock on a 64th of the flows. The zero value is empty.
type FlowTable[T any] struct {
	shards [flowShards]struct {
		mu sync.RWMutex
		m  map[uint64]*T
	}
}

// Get returns the state of a flow, nil when there is none.
func (t *FlowTable[T]) Get(id uint64) *T {
	s := &t.shards[id%flowShards]
	s.mu.RLock()
	v := s.m[id]
	s.mu.RUnlock()
	return v
}

// Put keeps the state of a flow.
func (t *FlowTable[T]) Put(id uint64, v *T) {
	s := &t.shards[id%flowShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[uint64]*T)
	}
	s.m[id] = v
}

// Remove forgets a flow.
func (t *FlowTable[T]) Remove(id uint64) {
	s := &t.shards[id%flowShards]
	s.mu.Lock()
	delete(s.m, id)
	s.mu.Unlock()
}

// A clock keeps the time of a flow's records from going back: an event may be older than the one
// before it (a segment that came early waits for one that came late), and its records must not be
// sorted before that one's.
type clock int64

// at returns t in nanoseconds, or the last time if that is later.
func (c *clock) at(t time.Time) int64 {
	*c = max(*c, clock(nanos(t)))
	return int64(*c)
}
