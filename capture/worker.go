// SPDX-License-Identifier: Apache-2.0

package capture

// worker reads the flows that are dealt out to it.
type worker struct {
	id    int
	t     *tracker
	rec   recorder
	gate  *gate
	batch *batch
	in    chan *batch
}

func newWorker(id int, o *Options, bounds Bounds, g *gate) *worker {
	w := &worker{id: id, gate: g, in: make(chan *batch, numBatches)}
	cfg := *o.Session
	cfg.Handler, cfg.Room = &w.rec, w.rec.room
	w.rec.share = (2*batchBytes + 64<<10) / o.workers()
	w.t = newTracker(&cfg, bounds)
	w.t.refs = true
	w.rec.t = w.t
	w.rec.full = func() { g.drain(w.rec.part, orderKey{w.t.n, w.t.sub}) }
	if o.workers() > 1 {
		cfg.BeforeResume = func() { g.turn(w.batch, w.rec.part, orderKey{w.t.n, w.t.sub}) }
	}
	return w
}

func (w *worker) run() {
	for b := range w.in {
		w.work(b)
		handOver()
	}
}

// work does the worker's part of a batch.
func (w *worker) work(b *batch) {
	p := &b.parts[w.id]
	w.batch = b
	w.rec.batch, w.rec.part = b, p
	w.t.apply(b.pressure)
	for i := p.head; i >= 0; {
		i = w.items(b, p, i)
	}
	p.held, p.open = w.t.pool.Held, len(w.t.flows)
	w.gate.leave(b, p)
}

// items does the items from i on, and returns where it stopped: at the end, or behind one whose flow failed.
func (w *worker) items(b *batch, p *part, i int32) (next int32) {
	defer w.t.guard()
	for next = i; next >= 0; {
		it := &b.items[next]
		next = it.next
		if w.gate.waiters.Load() > 0 {
			w.gate.passed(p, it.n)
		}
		switch it.kind {
		case itemPacket:
			w.t.packet(&it.segment)
		case itemTick:
			w.t.tick(it.n, it.clock)
		case itemFinish:
			w.t.finish(it.n, it.clock)
		}
	}
	return next
}
