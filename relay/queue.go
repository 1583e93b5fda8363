// SPDX-License-Identifier: Apache-2.0

package relay

// queue are flows to be carried on without waiting for anything. A flow is in one queue at a time.
type queue struct {
	ready []*flow
	other []*flow // ready's other half
}

// add has a flow carried on, once.
func (q *queue) add(f *flow) {
	if !f.queued {
		f.queued = true
		q.ready = append(q.ready, f)
	}
}

// carryOn has every flow go on a step. What is ready again then waits for its turn, after what the sockets tell meanwhile.
func (q *queue) carryOn() {
	now := q.ready
	q.ready, q.other = q.other[:0], now
	for i, f := range now {
		now[i] = nil
		f.queued = false
		f.run()
	}
}
