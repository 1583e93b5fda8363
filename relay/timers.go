// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"container/heap"
	"time"
)

// timers are the flows of a loop for which time counts, the one that is due first in front.
type timers []*flow

// set has a flow's tick called at a time, or sooner.
func (t *timers) set(f *flow, at time.Time) {
	f.at = at
	if f.timer == 0 {
		heap.Push((*timerHeap)(t), f)
		return
	}
	heap.Fix((*timerHeap)(t), f.timer-1)
}

func (t *timers) remove(f *flow) {
	if f.timer > 0 {
		heap.Remove((*timerHeap)(t), f.timer-1)
	}
}

// timerHeap implements heap.Interface. A flow knows its place, from 1 on.
type timerHeap []*flow

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer, h[j].timer = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	f := x.(*flow)
	*h = append(*h, f)
	f.timer = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	f.timer = 0
	return f
}
