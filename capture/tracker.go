// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"cmp"
	"slices"
	"time"

	"github.com/sightglass/sightglass/capture/decap"
	"github.com/sightglass/sightglass/capture/reassembly"
	"github.com/sightglass/sightglass/session"
)

// How long flows are kept when nothing comes, in nanoseconds of capture time.
const (
	idleEmbryo = 60e9  // without any data
	lingering  = 5e9   // after the end, for late packets
	afterReset = 250e6 // after a reset, for what was under way

	awaitSecret = 10e9 // after the end, for the private key to open what was said
)

// The lists of flows, each in order of their last packets.
const (
	listEmbryo = iota // no data yet
	listOpen
	listOver
	numLists
)

// tracker follows the flows of one worker. It is not safe for concurrent use.
type tracker struct {
	cfg      *session.Config
	pool     *reassembly.Pool
	bounds   Bounds
	idle     int64 // nanoseconds
	flows    map[flowKey]*flow
	latest   *flow          // that was found; nil: none
	busy     *flow          // whose turn it is, for guard; nil: none's
	lists    [numLists]flow // sentinels: next is the longest idle
	waiting  flow           // sentinel of the flows for which time goes on
	due      []*flow        // scratch
	counters counters

	now       int64  // the clock
	at        int64  // the time of events
	n         uint64 // number of the packet, which orders events
	sub       uint64 // orders events of different flows at one packet
	ref       *flowRef
	newEngine func(session.Flow) engine
	onFed     func(*flow) // looks at a flow whose session was fed; nil: no need
	onEnd     func(*flow) // is told of a flow that has ended; nil: no need
	refs      bool        // events are recorded
}

func newTracker(cfg *session.Config, bounds Bounds) *tracker {
	t := &tracker{
		cfg: cfg, bounds: bounds, idle: int64(bounds.Idle),
		pool: reassembly.NewPool(*bounds.Reassembly), flows: make(map[flowKey]*flow),
	}
	for i := range t.lists {
		t.lists[i].prev, t.lists[i].next = &t.lists[i], &t.lists[i]
	}
	t.waiting.wprev, t.waiting.wnext = &t.waiting, &t.waiting
	t.newEngine = func(f session.Flow) engine { return session.New(t.cfg, f) }
	return t
}

func (t *tracker) time() time.Time { return time.Unix(0, t.at) }

// enter makes the following events those of a flow.
func (t *tracker) enter(f *flow) { t.ref = f.ref }

func (t *tracker) fed(f *flow) {
	if t.onFed != nil {
		t.onFed(f)
	}
}

// packet takes one segment. The caller defers guard.
func (t *tracker) packet(s *segment) {
	t.n, t.sub, t.at, t.now = s.n, afterTicks, s.time, s.clock
	f := t.find(&s.key)
	if f != nil {
		switch f.belongs(int(s.dir), &s.seg) {
		case reassembly.Ignore:
			return
		case reassembly.New:
			t.replace(f)
			f = nil
		}
	}
	if f == nil {
		if f = t.newFlow(s); f == nil {
			return
		}
	}
	if f.over {
		return
	}
	t.feed(f, s)
}

// find returns the flow of that key, most often the last packet's; nil if there is none.
func (t *tracker) find(key *flowKey) *flow {
	if t.latest == nil || !t.latest.key.is(key) {
		t.latest = t.flows[*key]
	}
	return t.latest
}

// belongs says whether a segment is of this flow.
func (f *flow) belongs(dir int, s *reassembly.Segment) reassembly.Belonging {
	if f.conn == nil { // over, or shunted
		return f.past.Belongs(dir, s)
	}
	return f.conn.Belongs(dir, s)
}

// feed gives a flow its next segment, and ends it when that was the last.
func (t *tracker) feed(f *flow, s *segment) {
	t.busy = f
	f.last = t.now
	if f.client < 0 && s.seg.Flags&decap.SYN != 0 && s.seg.Flags&decap.RST == 0 {
		f.client = int8(s.dir)
		if s.seg.Flags&decap.ACK != 0 {
			f.client = 1 - f.client
		}
	}
	t.enter(f)
	if f.conn == nil {
		f.shuntedPacket(int(s.dir), s.seg.Flags)
	} else {
		f.conn.Packet(int(s.dir), &s.seg, t.now, t.pool, f)
	}
	t.settle(f)
	if tail := t.lists[f.list].prev; tail != f && !f.over {
		f.move(&t.lists[f.list], t.now)
	}
	t.busy = nil
}

// guard keeps a failure of our own in one flow from ending the others. It is to be deferred.
func (t *tracker) guard() {
	r, f := recover(), t.busy
	t.busy = nil
	switch {
	case r == nil:
	case f == nil:
		panic(r)
	default:
		f.caught(r)
		t.settle(f)
	}
}

// settle puts a flow where it belongs after something happened to it.
func (t *tracker) settle(f *flow) {
	if f.shunted {
		f.forgetConn()
	}
	if !f.over && f.conn != nil && f.conn.Ended() {
		t.endInOrder(f)
	}
	list := int8(listOpen)
	switch {
	case f.over:
		list = listOver
	case f.eng == nil:
		list = listEmbryo
	}
	if f.list != list {
		f.list = list
		f.move(&t.lists[list], t.now)
	}
	if wait := !f.over && (f.endAt != 0 || f.conn != nil && f.conn.Pending()); wait != f.waiting {
		f.setWaiting(wait, &t.waiting)
	}
}

// endInOrder ends a flow of which both sides have ended. One whose session still waits for the private
// key may go on for a while.
func (t *tracker) endInOrder(f *flow) {
	if f.eng == nil || f.eng.Waiting() == nil {
		f.finish()
	} else if f.endAt == 0 {
		f.endAt = t.now + awaitSecret
	}
}

func (t *tracker) newFlow(s *segment) *flow {
	if s.seg.Flags&decap.RST != 0 {
		return nil // nothing begins with a reset
	}
	t.counters.connections++
	f := &flow{
		t: t, key: s.key, conn: new(reassembly.Conn), first: s.n, start: s.time, client: -1,
		vlan: s.vlan, iface: s.iface,
	}
	if t.refs {
		f.ref = new(flowRef)
	}
	f.prev, f.next = f, f
	f.move(&t.lists[listEmbryo], t.now)
	t.flows[s.key] = f
	return f
}

// replace ends a flow whose ports were taken by a new connection.
func (t *tracker) replace(f *flow) {
	t.endGuarded(f)
	t.remove(f)
}

func (t *tracker) endGuarded(f *flow) {
	defer func() {
		if r := recover(); r != nil {
			f.caught(r)
		}
	}()
	f.end()
}

func (t *tracker) remove(f *flow) {
	f.unlink()
	f.setWaiting(false, &t.waiting)
	delete(t.flows, f.key)
	if t.latest == f {
		t.latest = nil
	}
}

// afterTicks orders the events of a packet behind those of the tick before it.
const afterTicks = ^uint64(0)

// tick says that time has come to now, before packet n. It ends what is over and gives up what was
// waited for. The order of the flows is that of their beginnings, which no number of workers changes.
func (t *tracker) tick(n uint64, now int64) {
	t.n, t.at, t.now = n, now, now
	t.due = t.due[:0]
	for f := t.waiting.wnext; f != &t.waiting; f = f.wnext {
		t.due = append(t.due, f)
	}
	limits := [numLists]int64{min(idleEmbryo, t.idle), t.idle, min(lingering, t.idle)}
	for i := range t.lists {
		for f := t.lists[i].next; f != &t.lists[i] && now-f.last >= limits[i]; f = f.next {
			if !f.waiting {
				t.due = append(t.due, f)
			}
		}
	}
	slices.SortFunc(t.due, func(a, b *flow) int { return cmp.Compare(a.first, b.first) })
	for _, f := range t.due {
		t.sub = f.first
		t.tickFlow(f, limits[f.list])
	}
	clear(t.due)
}

func (t *tracker) tickFlow(f *flow, limit int64) {
	switch {
	case f.over:
		t.remove(f)
		return
	case t.now-f.last >= limit:
		t.counters.expired++
		t.replace(f)
		return
	case f.endAt != 0 && t.now >= f.endAt:
		t.endGuarded(f)
	default:
		t.tickConn(f)
	}
	t.settle(f)
}

func (t *tracker) tickConn(f *flow) {
	t.busy = f
	defer t.guard()
	t.enter(f)
	if f.conn != nil {
		f.conn.Tick(t.now, t.pool, f)
	}
}

// finish ends all flows: nothing comes any more.
func (t *tracker) finish(n uint64, now int64) {
	t.n, t.at, t.now = n, now, now
	t.due = t.due[:0]
	for _, f := range t.flows {
		t.due = append(t.due, f)
	}
	slices.SortFunc(t.due, func(a, b *flow) int { return cmp.Compare(a.first, b.first) })
	for _, f := range t.due {
		t.sub = f.first
		t.replace(f)
	}
	t.due = nil
}

// apply takes what the sums over all workers say about the bounds.
func (t *tracker) apply(p pressure) {
	t.idle = int64(t.bounds.Idle) >> p.flows
	t.pool.Limits.Bytes = t.bounds.Reassembly.Bytes >> p.held
}

// Intrusive lists.

func (f *flow) unlink() {
	f.prev.next, f.next.prev = f.next, f.prev
	f.prev, f.next = f, f
}

// move puts a flow at the end of a list, which stays in order of time by that.
func (f *flow) move(list *flow, now int64) {
	f.unlink()
	f.last = now
	f.prev, f.next = list.prev, list
	f.prev.next, list.prev = f, f
}

func (f *flow) setWaiting(on bool, list *flow) {
	switch {
	case on == f.waiting:
	case on:
		f.wprev, f.wnext = list.wprev, list
		f.wprev.wnext, list.wprev = f, f
	default:
		f.wprev.wnext, f.wnext.wprev = f.wnext, f.wprev
		f.wprev, f.wnext = nil, nil
	}
	f.waiting = on
}
