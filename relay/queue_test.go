// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"testing"
	"time"
)

// TestQueue: what is ready goes on in turn, one at least and no more than fit in a moment.
func TestQueue(t *testing.T) {
	var q queue
	waiting := func() int { return len(q.front) - q.at + len(q.back) }
	flows := make([]*flow, 3)
	for i := range flows {
		flows[i] = &flow{closed: true} // does nothing
		q.add(flows[i])
		q.add(flows[i])
	}
	for i, f := range flows {
		q.carryOn(time.Now().Add(-1))
		if f.queued {
			t.Errorf("flow %d had no turn", i)
		}
		if i > 0 {
			q.add(flows[0]) // once, behind the others
		}
	}
	if waiting() != 1 || !flows[0].queued {
		t.Errorf("%d wait at the end", waiting())
	}
	q.add(flows[1])
	q.carryOn(time.Time{}) // what was added meanwhile waits for the next time
	q.carryOn(time.Time{})
	if !q.empty() || flows[0].queued || flows[1].queued {
		t.Errorf("%d wait though there was time for all", waiting())
	}
}

// TestInHandshake: what goes first is what a peer may wait for.
func TestInHandshake(t *testing.T) {
	start := time.Now()
	said := start.Add(time.Millisecond)
	for name, test := range map[string]struct {
		flow flow
		want bool
	}{
		"connecting":           {flow{last: start, limit: said}, true},
		"nothing was said yet": {flow{last: start}, true},
		"handshake":            {flow{last: said, limit: said}, true},
		"data":                 {flow{last: said}, false},
		"reads on":             {flow{last: said, limit: said, answered: true}, false},
		"lets go what it held": {flow{last: said, limit: said, answered: true, dirs: [2]direction{server: {held: []byte("x")}}}, true},
	} {
		test.flow.start = start
		if got := test.flow.inHandshake(); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
