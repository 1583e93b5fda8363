// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"errors"
	"io"
	"math/bits"
	"time"

	"github.com/sightglass/sightglass/capture/decap"
	"github.com/sightglass/sightglass/capture/pcapng"
)

// tickEvery is how often, in nanoseconds of capture time, the flows learn that time has gone on.
const tickEvery = 100e6

// minFill is the least that is read at once, in bytes.
const minFill = 64 << 10

// feeder reads packets into batches and deals their segments out.
type feeder struct {
	files   []pcapng.File
	sel     *Selection
	workers []*worker
	gate    *gate
	seed    uint64
	bounds  Bounds
	secrets func([]byte) // takes the secrets of files that can be read only once

	free    chan *batch // in order
	ordered chan *batch // to the merger
	seq     int

	dec      decap.Decoder
	seg      decap.Segment
	key      flowKey // of seg
	worker   int     // whose the last origin of the batch is; -1: nobody's
	n        uint64
	clock    clock
	first    int64 // time of the earliest packet
	last     int64 // and of the latest
	nextTick int64
	pressure pressure
	used     int // bytes of the last batch that were used
	read     int64
	stats    *Stats
	ends     []int64 // how far each file could be read
	err      error
}

// run reads all files. It closes the workers' channels and the merger's when nothing more comes.
func (f *feeder) run(ctx context.Context) {
	defer close(f.ordered)
	defer func() {
		for _, w := range f.workers {
			close(w.in)
		}
	}()
	for _, file := range f.files {
		if f.err = f.file(ctx, file); f.err != nil {
			break
		}
	}
	if f.stats.Packets > 0 {
		f.stats.First, f.stats.Last = time.Unix(0, f.first), time.Unix(0, f.last)
	}
	b := f.take()
	for i := range f.workers {
		*b.next() = item{kind: itemFinish, segment: segment{n: f.n + 1, time: f.clock.now, clock: f.clock.now}}
		b.add(i)
	}
	f.give(b)
}

// file reads one file. What is wrong with it becomes a warning, or with what was read of the other
// files the error at the end; only when ctx ends are no further files read.
func (f *feeder) file(ctx context.Context, file pcapng.File) error {
	in, err := file.Open(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.stats.Warnings = append(f.stats.Warnings, err)
		f.ends = append(f.ends, 0)
		return nil
	}
	defer in.Close()
	if !file.Again {
		in.Secrets = func(kind uint32, b []byte) {
			if kind == pcapng.SecretsTLS {
				f.secrets(b)
			}
		}
	}
	before := f.read
	for err == nil && ctx.Err() == nil {
		b := f.take()
		err = f.fill(b, in, file.Again)
		f.read = before + in.Used()
		f.give(b)
	}
	f.ends = append(f.ends, in.Offset())
	switch {
	case err == io.EOF:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	f.stats.Warnings = append(f.stats.Warnings, err)
	return nil
}

// take returns the next batch of the ring, empty, and decides by the sums it comes back with.
func (f *feeder) take() *batch {
	b := <-f.free
	held, open := 0, 0
	for i := range b.parts {
		held += b.parts[i].held
		open += b.parts[i].open
	}
	f.pressure.held = adjust(f.pressure.held, held, f.bounds.Held)
	f.pressure.flows = adjust(f.pressure.flows, open, f.bounds.Flows)
	b.reset()
	b.pressure = f.pressure
	return b
}

// maxPressure is how often the bounds of a flow are halved.
const maxPressure = 16

// adjust raises the pressure while a sum is over its bound, and lowers it when it is well below.
func adjust(p uint8, sum, bound int) uint8 {
	switch {
	case sum > bound && p < maxPressure:
		return p + 1
	case sum < bound/2 && p > 0:
		return p - 1
	}
	return p
}

// give hands a batch to the workers that have a part in it, and to the merger.
func (f *feeder) give(b *batch) {
	b.read = f.read
	f.gate.open(b, f.seq)
	f.seq++
	for i := range b.parts {
		if b.parts[i].head >= 0 {
			f.workers[i].in <- b
		}
	}
	f.ordered <- b
	handOver()
}

// fill reads packets into a batch until its buffer or its items are used up.
func (f *feeder) fill(b *batch, in *pcapng.Input, whole bool) error {
	// Where packets are small the items end before the buffer does, and what is left over has to be
	// moved: read about as much as will be used. What was too little for any packet is followed by
	// enough for one of any size.
	size := min(f.used+f.used/4, batchBytes)
	if f.used == 0 {
		size = pcapng.MinBuffer
	}
	in.Fill(b.room(max(size, minFill, in.Left())), whole)
	start := in.Offset()
	var p pcapng.Packet
	for len(b.items) < batchItems {
		err := in.Next(&p)
		if err == pcapng.ErrFill {
			break
		}
		if err != nil {
			return err
		}
		f.packet(b, &p)
	}
	f.used = int(in.Offset() - start)
	if len(b.items) < batchItems && f.used > 0 {
		f.used = batchBytes
	}
	return nil
}

// packet finds the segment in a packet and gives it to the worker whose flow it is.
func (f *feeder) packet(b *batch, p *pcapng.Packet) {
	f.n++
	at := f.clock.at(p.Time)
	f.count(p)
	res := f.dec.Decode(uint16(p.Link), p.Data, p.Length, f.clock.now, &f.seg)
	f.stats.Results[res]++
	switch {
	case res == decap.UnknownLink:
		f.stats.unknownLink(uint16(p.Link))
		return
	case res != decap.TCP:
		return
	}
	if f.clock.now >= f.nextTick || f.nextTick-f.clock.now > tickEvery {
		f.tick(b)
	}
	dir := f.key.set(&f.seg)
	if !f.known(b, p.Interface) {
		f.meet(b, p.Interface)
	}
	if f.worker < 0 {
		f.stats.Excluded++
		return
	}
	// Field by field: a copy of what was just put together would wait for the processor to write it.
	it, s := b.next(), &f.seg
	it.kind, it.n, it.time, it.clock, it.dir = itemPacket, f.n, at, f.clock.now, uint8(dir)
	it.seg.Seq, it.seg.Ack, it.seg.Flags, it.seg.Data, it.seg.Missing = s.Seq, s.Ack, s.Flags, s.Payload, s.Missing
	it.origin = &b.origins[len(b.origins)-1]
	b.copied = b.copied || s.Copied
	b.add(f.worker)
}

// known reports whether the segment has the origin of the one before it.
func (f *feeder) known(b *batch, iface string) bool {
	n := len(b.origins)
	if n == 0 {
		return false
	}
	o := &b.origins[n-1]
	return o.key.is(&f.key) && o.vlan == f.seg.VLAN && o.iface == iface
}

// meet takes note of a segment's origin, and of who is to read it.
func (f *feeder) meet(b *batch, iface string) {
	if n := len(b.origins); n > 0 && f.worker < 0 {
		b.origins = b.origins[:n-1] // nobody's
	}
	b.origins = append(b.origins, origin{f.key, iface, f.seg.VLAN})
	f.worker = -1
	if f.sel.endpoints(&f.key) {
		worker, _ := bits.Mul64(f.key.hash(f.seed), uint64(len(f.workers)))
		f.worker = int(worker)
	}
}

func (f *feeder) tick(b *batch) {
	first := f.nextTick == 0
	f.nextTick = f.clock.now + tickEvery
	if first {
		return
	}
	for i := range f.workers {
		*b.next() = item{kind: itemTick, segment: segment{n: f.n, time: f.clock.now, clock: f.clock.now}}
		b.add(i)
	}
}

// count counts a packet, by the time that the clock shows: one that is far off is no beginning or end.
func (f *feeder) count(p *pcapng.Packet) {
	now := f.clock.now
	if f.stats.Packets == 0 {
		f.first, f.last = now, now
	}
	f.first, f.last = min(f.first, now), max(f.last, now)
	f.stats.Packets++
	f.stats.Bytes += uint64(len(p.Data))
}

func (s *Stats) unknownLink(link uint16) {
	if s.Links == nil {
		s.Links = make(map[uint16]uint64)
	}
	s.Links[link]++
}

// isCut reports whether an error is only that a file is not whole.
func isCut(err error) bool { return errors.Is(err, pcapng.ErrCut) }
