// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/capture/decap"
	"github.com/sightglass/sightglass/capture/reassembly"
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// fake is an engine that keeps what it is given.
type fake struct {
	flow  session.Flow
	said  strings.Builder
	ended bool
	bad   bool // panics at any byte
	worse bool // panics at the end, too
}

func (f *fake) Feed(side handshake.Side, _ time.Time, b []byte) {
	if f.bad {
		panic("a bug")
	}
	fmt.Fprintf(&f.said, "%v:%s ", side, b)
}
func (f *fake) Gap(side handshake.Side, _ time.Time, n int) {
	fmt.Fprintf(&f.said, "%v gap %d ", side, n)
}
func (f *fake) CloseSide(side handshake.Side, _ time.Time)  { fmt.Fprintf(&f.said, "%v fin ", side) }
func (f *fake) Reset(side handshake.Side, _ time.Time)      { fmt.Fprintf(&f.said, "%v rst ", side) }
func (f *fake) Fail(c session.Cause, _ string, _ time.Time) { f.flow.Cause = c }
func (f *fake) Waiting() *rsakex.Secret                     { return nil }
func (f *fake) Backlog() int                                { return 0 }
func (f *fake) Resume(time.Time)                            {}
func (f *fake) Flow() *session.Flow                         { return &f.flow }
func (f *fake) End(t time.Time) *session.Flow {
	if f.worse {
		panic("another bug")
	}
	f.ended = true
	f.flow.End = t
	return &f.flow
}

// tracked is a tracker with fake engines.
type tracked struct {
	*tracker
	engines []*fake
	n       uint64
	clock   int64
}

func newTracked() *tracked {
	k := &tracked{tracker: newTracker(&session.Config{}, Bounds{}.withDefaults()), clock: 1e18}
	k.newEngine = func(f session.Flow) engine {
		e := &fake{flow: f}
		k.engines = append(k.engines, e)
		return e
	}
	return k
}

// give gives packets to the tracker, a microsecond apart.
func (k *tracked) give(ps ...packet) {
	for _, p := range ps {
		k.n++
		k.clock += 1000
		it := p.segment()
		it.n, it.time, it.clock = k.n, k.clock, k.clock
		func() {
			defer k.guard()
			k.packet(it)
		}()
	}
}

// segment returns the packet as a tracker takes it, but for its time.
func (p *packet) segment() *segment {
	seg := decap.Segment{
		Src: decap.AddrFrom16(p.src.Addr().As16()), Dst: decap.AddrFrom16(p.dst.Addr().As16()), SrcPort: p.src.Port(), DstPort: p.dst.Port(),
	}
	it := &segment{origin: new(origin)}
	it.dir = uint8(it.key.set(&seg))
	it.seg = reassembly.Segment{Seq: p.seq, Ack: p.ack, Flags: decap.Flags(p.flags), Data: p.data}
	return it
}

// later lets time pass.
func (k *tracked) later(d time.Duration) {
	for end := k.clock + int64(d); k.clock < end; {
		k.clock = min(end, k.clock+tickEvery)
		k.tick(k.n+1, k.clock)
	}
}

// empty checks that nothing is kept.
func (k *tracked) empty(t *testing.T) {
	t.Helper()
	for i := range k.lists {
		if k.lists[i].next != &k.lists[i] || k.lists[i].prev != &k.lists[i] {
			t.Errorf("list %d is not empty", i)
		}
	}
	if len(k.flows) > 0 || k.waiting.wnext != &k.waiting || k.pool.Held != 0 {
		t.Errorf("%d flows are kept, %d bytes held", len(k.flows), k.pool.Held)
	}
}

func hello() *wire {
	w := newWire("10.0.0.1:40000", "10.0.0.2:443").open()
	w.send(handshake.Client, []byte("ping"))
	w.send(handshake.Server, []byte("pong"))
	return w
}

func TestFlowEndsInOrder(t *testing.T) {
	k := newTracked()
	k.give(hello().close().out...)
	if e := k.engines[0]; !e.ended || e.said.String() != "client:ping server:pong client fin server fin " {
		t.Errorf("ended %v: %s", e.ended, e.said.String())
	}
	// Late packets begin no flow of their own, for a while.
	late := hello().out
	k.give(late[len(late)-2:]...)
	if len(k.engines) != 1 || len(k.flows) != 1 {
		t.Errorf("%d flows, %d are kept", len(k.engines), len(k.flows))
	}
	k.later(lingering + tickEvery)
	k.empty(t)
}

func TestFlowEndsByReset(t *testing.T) {
	k := newTracked()
	w := hello()
	w.add(handshake.Client, flagRST|flagACK, nil)
	w.send(handshake.Server, []byte("too late"))
	k.give(w.out...)
	if e := k.engines[0]; e.ended || !strings.HasSuffix(e.said.String(), "client rst server:too late ") {
		t.Errorf("ended %v: %s", e.ended, e.said.String())
	}
	k.later(afterReset + tickEvery)
	if !k.engines[0].ended {
		t.Error("the flow goes on after its reset")
	}
	k.later(lingering + tickEvery)
	k.empty(t)
}

func TestFlowExpires(t *testing.T) {
	k := newTracked()
	k.give(hello().out...)
	syn := newWire("10.0.0.1:40001", "10.0.0.2:443")
	syn.add(handshake.Client, flagSYN, nil)
	k.give(syn.out...)
	k.later(idleEmbryo + tickEvery)
	if len(k.flows) != 1 || k.engines[0].ended || k.counters.expired != 1 {
		t.Errorf("%d flows, %d expired", len(k.flows), k.counters.expired)
	}
	k.apply(pressure{flows: 6})
	k.later(DefaultIdle >> 6)
	if !k.engines[0].ended || k.counters.expired != 2 {
		t.Errorf("ended %v, %d expired", k.engines[0].ended, k.counters.expired)
	}
	k.empty(t)
}

// A hole is given up when time goes on, and the flow is not looked at again.
func TestFlowWaits(t *testing.T) {
	k := newTracked()
	w := hello()
	w.next[handshake.Server] += 10
	w.send(handshake.Server, []byte("after"))
	k.give(w.out...)
	if k.waiting.wnext == &k.waiting || strings.Contains(k.engines[0].said.String(), "after") {
		t.Fatalf("not waiting: %s", k.engines[0].said.String())
	}
	k.later(2 * time.Second)
	if k.waiting.wnext != &k.waiting || !strings.HasSuffix(k.engines[0].said.String(), "server gap 10 server:after ") {
		t.Errorf("still waiting: %s", k.engines[0].said.String())
	}
	k.finish(k.n+1, k.clock)
	k.empty(t)
}

// A bug that one flow meets does not end the others.
func TestPanicIsContained(t *testing.T) {
	for _, worse := range []bool{false, true} {
		k := newTracked()
		k.give(hello().out...)
		k.engines[0].bad, k.engines[0].worse = true, worse
		other := newWire("10.0.0.1:40001", "10.0.0.2:443").open()
		other.send(handshake.Client, []byte("ping"))
		k.give(other.out...)
		w := hello()
		w.send(handshake.Client, []byte("boom"))
		k.give(w.out[len(w.out)-2:]...)
		other.send(handshake.Client, []byte("pong"))
		k.give(other.out[len(other.out)-2:]...)
		if e := k.engines[0]; !worse && (!e.ended || e.flow.Cause != session.Malformed) {
			t.Errorf("ended %v, cause %v", e.ended, e.flow.Cause)
		}
		if got := k.engines[1].said.String(); got != "client:ping client:pong " {
			t.Errorf("the other flow: %s", got)
		}
		if len(k.counters.panics) == 0 || !strings.Contains(k.counters.panics[0].Error(), "a bug") {
			t.Errorf("%v", k.counters.panics)
		}
		k.finish(k.n+1, k.clock)
		k.empty(t)
	}
}

// A worker goes on behind an item whose flow met a bug, in the same batch.
func TestWorkerGoesOn(t *testing.T) {
	g := newGate()
	w := newWorker(0, &Options{Session: &session.Config{}, Workers: 1}, Bounds{}.withDefaults(), g)
	var engines []*fake
	w.t.newEngine = func(f session.Flow) engine {
		e := &fake{flow: f, bad: len(engines)%2 == 0, worse: len(engines)%4 == 0}
		engines = append(engines, e)
		return e
	}
	b := newBatch(1)
	b.reset()
	const flows, segments = 8, 3
	for i := range flows * segments {
		seg := decap.Segment{Src: decap.Addr{Low: uint64(i % flows)}, Dst: decap.Addr{Low: 99}, SrcPort: 40000, DstPort: 443}
		it := b.next()
		*it = item{segment: segment{origin: new(origin), n: uint64(i + 1)}}
		it.dir = uint8(it.key.set(&seg))
		if it.seg.Seq = uint32(i / flows); it.seg.Seq == 0 {
			it.seg.Flags = decap.SYN
		} else {
			it.seg.Data = []byte("x")
		}
		b.add(0)
	}
	g.open(b, 0)
	w.work(b)
	if !b.complete || len(engines) != flows || len(w.t.counters.panics) != flows/2 {
		t.Fatalf("complete: %v, %d flows, panics: %v", b.complete, len(engines), w.t.counters.panics)
	}
	for i, e := range engines {
		if said := e.said.String(); e.bad != (said == "") || !e.bad && said != strings.Repeat("client:x ", segments-1) {
			t.Errorf("flow %d, which meets a bug: %v, said %q", i, e.bad, said)
		}
	}
}

func TestClock(t *testing.T) {
	var c clock
	const s = int64(time.Second)
	for i, tt := range []struct{ time, at, now int64 }{
		{1000 * s, 1000 * s, 1000 * s},
		{1001 * s, 1001 * s, 1001 * s},
		{1000 * s, 1001 * s, 1001 * s},        // a little back
		{9000 * s, 9000 * s, 1001 * s},        // one far off
		{1002 * s, 1002 * s, 1002 * s},        // and back
		{9000 * s, 9000 * s, 1002 * s},        // far off again
		{9001 * s, 9001 * s, 9001 * s},        // confirmed
		{10 * s, 10 * s, 9001 * s},            // far back
		{11 * s, 11 * s, 11 * s},              // confirmed
		{math.MaxInt64, maxTime, 11 * s},      // nonsense
		{math.MinInt64, -maxTime, -maxTime},   // more nonsense
		{math.MaxInt64, maxTime, -maxTime},    // and
		{math.MaxInt64 - 5, maxTime, maxTime}, // so on
	} {
		if at := c.at(tt.time); at != tt.at || c.now != tt.now {
			t.Errorf("step %d: at %d, now %d, want %d, %d", i, at, c.now, tt.at, tt.now)
		}
	}
}

func TestKeyOfBothDirections(t *testing.T) {
	a := decap.Segment{Src: decap.Addr{Low: 1}, Dst: decap.Addr{Low: 2}, SrcPort: 9, DstPort: 3}
	b := decap.Segment{Src: a.Dst, Dst: a.Src, SrcPort: a.DstPort, DstPort: a.SrcPort}
	self := decap.Segment{SrcPort: 9, DstPort: 3}
	back := decap.Segment{SrcPort: 3, DstPort: 9}
	for _, pair := range [][2]decap.Segment{{a, b}, {self, back}} {
		var k, l flowKey
		if i, j := k.set(&pair[0]), l.set(&pair[1]); i == j || k != l || k.hash(7) != l.hash(7) {
			t.Errorf("%+v and %+v, directions %d and %d", k, l, i, j)
		}
	}
	if k := (flowKey{}); k.hash(1) == k.hash(2) {
		t.Error("the seed does nothing")
	}
}

// Of a segment in order nothing is allocated on the way to the session.
func TestPacketAllocatesNothing(t *testing.T) {
	k := newTracker(&session.Config{}, Bounds{}.withDefaults())
	k.newEngine = func(f session.Flow) engine { return new(idle) }
	seg := decap.Segment{SrcPort: 40000, DstPort: 443}
	it := segment{origin: new(origin)}
	it.dir = uint8(it.key.set(&seg))
	give := func(flags decap.Flags, data []byte) {
		it.n++
		it.time += 1000
		it.clock = it.time
		it.seg.Flags, it.seg.Data = flags, data
		k.packet(&it)
		it.seg.Seq += uint32(len(data))
	}
	give(decap.SYN, nil)
	it.seg.Seq++
	data := make([]byte, 1448)
	give(0, data)
	if n := testing.AllocsPerRun(1000, func() { give(0, data) }); n > 0 {
		t.Errorf("%v allocations a segment", n)
	}
}

// idle is an engine that does nothing.
type idle struct{ fake }

func (*idle) Feed(handshake.Side, time.Time, []byte) {}
