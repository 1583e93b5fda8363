// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// queue are flows to be carried on without waiting for anything. A flow is in one queue at a time.
type queue struct {
	front []*flow // from at on
	at    int
	back  []*flow // added since
}

func (q *queue) empty() bool { return q.at == len(q.front) && len(q.back) == 0 }

// add has a flow carried on, once.
func (q *queue) add(f *flow) {
	if !f.queued {
		f.queued = true
		q.back = append(q.back, f)
	}
}

// carryOn has the flows go on a step each, at least one, and no more after a time; zero: all. What is ready again then waits for
// its turn, after what the sockets tell meanwhile.
func (q *queue) carryOn(until time.Time) {
	if q.at == len(q.front) {
		q.front, q.back, q.at = q.back, q.front[:0], 0
	}
	for q.at < len(q.front) {
		f := q.front[q.at]
		q.front[q.at] = nil
		q.at++
		f.queued = false
		f.run()
		if !until.IsZero() && q.at < len(q.front) && time.Now().After(until) {
			return
		}
	}
}
