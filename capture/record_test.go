// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"testing"

	"github.com/sightglass/sightglass/session"
)

// TestRecorderKeepsWhatItLent has events bring data in the room that was lent for it, and from elsewhere.
func TestRecorderKeepsWhatItLent(t *testing.T) {
	b := newBatch(1)
	r := recorder{t: &tracker{ref: new(flowRef)}, batch: b, part: &b.parts[0], share: 100, full: func() {}}
	var want []byte
	for i := range 50 {
		data := bytes.Repeat([]byte{byte(i)}, i)
		room := r.room(200)
		if cap(room) < 200 || len(room) != 0 {
			t.Fatalf("room for %d bytes, %d used", cap(room), len(room))
		}
		if i%3 > 0 {
			data = append(room, data...)
		}
		before := cap(r.part.data)
		r.Event(&session.Event{Kind: session.KindData, Flow: new(session.Flow), Data: data})
		if cap(r.part.data) != before {
			t.Errorf("event %d: its data was moved", i)
		}
		e := &r.part.events[i]
		if want = append(want, data...); !bytes.Equal(r.part.data[e.from:e.to], data) || !bytes.Equal(r.part.data, want) {
			t.Errorf("event %d: %x", i, r.part.data[e.from:e.to])
		}
	}
}
