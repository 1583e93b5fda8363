// SPDX-License-Identifier: Apache-2.0

package capture

import "github.com/sightglass/sightglass/session"

// merger hands recorded events on in their order.
type merger struct {
	handler session.Handler // nil: none
	settle  func()          // nil: none
	gate    *gate
	lastID  uint64
	ev      session.Event
}

// merge waits for a batch and hands its events on.
func (m *merger) merge(b *batch) {
	for {
		p := m.gate.await(b)
		if p == nil {
			break
		}
		m.emit(b, func(k orderKey) bool { return !p.at.before(k) })
		m.settled()
		b.used.Add(-int64(p.size()))
		p.clear()
		m.gate.release(p)
	}
	m.emit(b, func(orderKey) bool { return true })
	m.settled()
}

// settled says that the data of the events so far is about to be another's.
func (m *merger) settled() {
	if m.settle != nil {
		m.settle()
	}
}

// size is what the part's events were counted for.
func (p *part) size() int {
	return len(p.events)*recordSize + len(p.flows)*flowStateSize + len(p.data)
}

// emit hands on the events whose keys are within, in order over all parts.
func (m *merger) emit(b *batch, within func(orderKey) bool) {
	for {
		first, second := b.firstTwo()
		if first == nil {
			return
		}
		for first.emitted < len(first.events) {
			r := &first.events[first.emitted]
			if second != nil && second.next().before(r.at) {
				break
			}
			if !within(r.at) {
				return
			}
			m.event(first, r)
			first.emitted++
		}
	}
}

// firstTwo returns the parts whose next events are the first and the second of all.
func (b *batch) firstTwo() (first, second *part) {
	for i := range b.parts {
		p := &b.parts[i]
		switch {
		case p.emitted == len(p.events):
		case first == nil || p.next().before(first.next()):
			first, second = p, first
		case second == nil || p.next().before(second.next()):
			second = p
		}
	}
	return first, second
}

func (p *part) next() orderKey { return p.events[p.emitted].at }

// event hands on one event.
func (m *merger) event(p *part, r *record) {
	flow := &r.ref.flow
	if r.flow >= 0 {
		id := flow.ID
		*flow = p.flows[r.flow]
		flow.ID = id
		if r.kind == session.KindOpen {
			m.lastID++
			flow.ID = m.lastID
		}
	} else {
		r.counts.store(flow)
	}
	if m.handler == nil {
		return
	}
	m.ev = session.Event{
		Kind: r.kind, Side: r.side, Clear: r.clear, Early: r.early, Injected: r.injected,
		Time: r.time, Flow: flow, Lost: r.lost, Alert: r.alert,
	}
	if !r.hasNoData {
		m.ev.Data = p.data[r.from:r.to] // its capacity shows whether the next stands behind it (sink.Raw)
	}
	m.handler.Event(&m.ev)
}
