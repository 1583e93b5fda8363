// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"slices"
	"sync/atomic"

	"github.com/sightglass/sightglass/capture/reassembly"
)

// What is under way at once. The number of batches must not depend on the number of workers: what
// one batch left decides about a later one.
const (
	numBatches = 8
	batchBytes = 256 << 10
	batchItems = 1024
	// batchEvents bounds the events of one batch, in bytes, before they are merged.
	batchEvents = 2 << 20
)

// itemKind says what a worker is to do.
type itemKind uint8

const (
	itemPacket itemKind = iota
	itemTick
	itemFinish
)

// item is one thing for one worker to do. It is small, as all of them go from one processor to another.
type item struct {
	segment
	next int32 // of the same worker's; -1: none
	kind itemKind
}

// origin is whose a packet is, and where it came by.
type origin struct {
	key   flowKey
	iface string
	vlan  uint16
}

// segment is a packet's TCP segment, as a tracker takes it.
type segment struct {
	*origin
	n     uint64 // number of the packet
	time  int64  // of the events
	clock int64  // for what is waited for
	seg   reassembly.Segment
	dir   uint8
}

// pressure says how much less is kept of each flow, as powers of two.
type pressure struct{ held, flows uint8 }

// batch is a run of packets with what they cause.
type batch struct {
	buf      []byte // the packets
	items    []item
	copied   bool // some have payloads of their own
	origins  []origin
	parts    []part // one for each worker
	pressure pressure
	read     int64 // bytes of the files, up to here
	used     atomic.Int64

	// Guarded by the gate.
	seq      int
	left     int
	complete bool
}

// part is one worker's share of a batch.
type part struct {
	head, tail int32 // of its items; -1: none
	events     []record
	flows      []flowState // what some events say of their flows
	data       []byte      // what events carry
	emitted    int         // events that were merged
	held       int         // what the worker holds of segments, when it is done
	open       int         // its flows

	// Guarded by the gate.
	state parked
	at    orderKey
	pos   uint64 // number of a packet that the worker has come to, told while others wait

	_ [64]byte // each worker writes its own cache lines
}

func newBatch(workers int) *batch {
	return &batch{
		buf:   make([]byte, batchBytes),
		parts: make([]part, workers),
	}
}

// room returns n bytes for packets.
func (b *batch) room(n int) []byte {
	if n > len(b.buf) {
		b.buf = make([]byte, n)
	}
	return b.buf[:n]
}

// reset makes the batch empty.
func (b *batch) reset() {
	if b.copied {
		clear(b.items) // to write to all takes time: other processors have read them
		b.copied = false
	}
	b.items = b.items[:0]
	clear(b.origins)
	b.origins = b.origins[:0]
	b.used.Store(0)
	for i := range b.parts {
		p := &b.parts[i]
		p.head, p.tail = -1, -1
		p.clear()
		p.pos = 0
	}
}

// next returns the item that add appends, to be filled in.
func (b *batch) next() *item {
	n := len(b.items)
	if n == cap(b.items) {
		b.items = slices.Grow(b.items, 1)
	}
	return &b.items[:n+1][n]
}

// add appends the item for a worker.
func (b *batch) add(worker int) {
	i := int32(len(b.items))
	b.items = b.items[:i+1]
	b.items[i].next = -1
	p := &b.parts[worker]
	if p.tail < 0 {
		p.head = i
	} else {
		b.items[p.tail].next = i
	}
	p.tail = i
}

// maxKept is how much memory for events a part keeps for the next batch, in bytes.
const maxKept = 1 << 20

// clear empties the part's events.
func (p *part) clear() {
	clear(p.events)
	p.events, p.emitted = p.events[:0], 0
	clear(p.flows)
	p.flows = p.flows[:0]
	p.data = p.data[:0]
	if cap(p.data) > maxKept {
		p.data = nil
	}
	if cap(p.events) > maxKept/recordSize {
		p.events = nil
	}
	if cap(p.flows) > maxKept/flowStateSize {
		p.flows = nil
	}
}
