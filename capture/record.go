// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"time"
	"unsafe"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// orderKey orders events: by packet, and at one packet by flow.
type orderKey struct{ n, sub uint64 }

func (k orderKey) before(l orderKey) bool { return k.n < l.n || k.n == l.n && k.sub < l.sub }

// flowRef stands for a flow in recorded events. Its flow is what the handler sees: the merger brings
// it up to each event's time.
type flowRef struct {
	flow session.Flow
}

// flowState is what a session said of its flow at an event.
type flowState = session.Flow

// counts are the fields of a flow that change with every record.
type counts struct{ bytes, plaintext, records, gaps [2]uint64 }

func countsOf(f *session.Flow) counts { return counts{f.Bytes, f.Plaintext, f.Records, f.Gaps} }

func (c *counts) store(f *session.Flow) {
	f.Bytes, f.Plaintext, f.Records, f.Gaps = c.bytes, c.plaintext, c.records, c.gaps
}

// record is an event that waits to be merged.
type record struct {
	at        orderKey
	ref       *flowRef
	time      time.Time
	counts    counts
	from, to  int   // of the part's data
	flow      int32 // of the part's flows; -1: only the counts have changed
	lost      int
	alert     handshake.Alert
	kind      session.Kind
	side      handshake.Side
	clear     bool
	early     bool
	injected  bool
	hasNoData bool
}

const (
	recordSize    = int(unsafe.Sizeof(record{}))
	flowStateSize = int(unsafe.Sizeof(flowState{}))
)

// recorder is the handler of one worker's sessions.
type recorder struct {
	t     *tracker
	batch *batch
	part  *part
	full  func() // is called when too much was recorded
	share int    // how much data a part has room for at first
}

// room lends what follows the part's data.
func (r *recorder) room(n int) []byte {
	p := r.part
	if need := len(p.data) + n; cap(p.data) < need {
		p.data = append(make([]byte, 0, max(r.share, need+need/2)), p.data...)
	}
	return p.data[len(p.data) : len(p.data) : len(p.data)+n]
}

// keep puts b behind the part's data, where it stands already if it is in the room that was lent.
func (p *part) keep(b []byte) {
	n := len(p.data)
	if len(b) > 0 && n < cap(p.data) && &b[0] == &p.data[:n+1][n] {
		p.data = p.data[:n+len(b)]
		return
	}
	p.data = append(p.data, b...)
}

// Event records an event. Data that is not in the room lent is copied, as the session reuses it; what
// else of the flow may have changed is copied with all events but the frequent ones.
func (r *recorder) Event(e *session.Event) {
	p := r.part
	rec := record{
		at: orderKey{r.t.n, r.t.sub}, ref: r.t.ref, time: e.Time, counts: countsOf(e.Flow),
		lost: e.Lost, alert: e.Alert, kind: e.Kind, side: e.Side,
		clear: e.Clear, early: e.Early, injected: e.Injected, hasNoData: e.Data == nil,
		from: len(p.data), flow: -1,
	}
	if e.Kind == session.KindOpen {
		rec.time = r.t.time() // the flow's Start was before its first bytes
	}
	size := recordSize + len(e.Data)
	p.keep(e.Data)
	rec.to = len(p.data)
	switch e.Kind {
	case session.KindData, session.KindGap, session.KindSecrets:
	default:
		rec.flow = int32(len(p.flows))
		p.flows = append(p.flows, *e.Flow)
		size += flowStateSize
	}
	p.events = append(p.events, rec)
	if r.batch.used.Add(int64(size)) > batchEvents {
		r.full()
	}
}
