// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/sightglass/sightglass/session"
)

// Selection picks flows. Each field that is set must fit, by any one of its values.
type Selection struct {
	// Nets holds either endpoint's address.
	Nets []netip.Prefix
	// Ports holds either endpoint's port.
	Ports []uint16
	// ServerNames are names as in the ClientHello, without regard to case; "*" and "?" stand for any
	// characters and any one.
	ServerNames []string
	// ClientSubject reports whether the subject of a client certificate, the leaf in DER, is one
	// that is picked; nil: flows with no client certificate are picked as well.
	ClientSubject func(leaf []byte) bool
}

// endpoints reports whether a flow's addresses and ports fit.
func (s *Selection) endpoints(k *flowKey) bool {
	if len(s.Ports) > 0 && !slices.Contains(s.Ports, k.port[0]) && !slices.Contains(s.Ports, k.port[1]) {
		return false
	}
	if len(s.Nets) == 0 {
		return true
	}
	a, b := k.addr[0].Netip(), k.addr[1].Netip()
	return slices.ContainsFunc(s.Nets, func(p netip.Prefix) bool { return p.Contains(a) || p.Contains(b) })
}

// late reports whether the selection needs to know more than addresses and ports.
func (s *Selection) late() bool { return len(s.ServerNames) > 0 || s.ClientSubject != nil }

// handler returns a handler that hands on the events of the flows that are picked.
func (s *Selection) handler(next session.Handler) session.Handler {
	if next == nil || !s.late() {
		return next
	}
	return &selector{sel: s, next: next, flows: make(map[uint64]*pending)}
}

// What is kept of flows that are not decided, in bytes of data and in events.
const (
	maxPendingFlow  = 256 << 10
	maxPendingTotal = 8 << 20
	eventCost       = 1 << 10
)

// selector keeps the events of a flow until it is known whether the flow is picked.
type selector struct {
	sel   *Selection
	next  session.Handler
	flows map[uint64]*pending // by ID
	held  int
}

// pending is a flow that is not decided, or was.
type pending struct {
	events  []kept
	size    int
	decided bool
	picked  bool
}

// kept is a copy of an event and of its flow at that time.
type kept struct {
	ev   session.Event
	flow session.Flow
}

// Event takes an event of any flow, from one goroutine.
func (s *selector) Event(e *session.Event) {
	p := s.flows[e.Flow.ID]
	if p == nil {
		p = new(pending)
		s.flows[e.Flow.ID] = p
	}
	if !p.decided {
		p.picked, p.decided = s.decide(e)
		if !p.decided && s.over(p) {
			p.decided = true
		}
		switch {
		case p.decided && p.picked:
			s.show(p, e.Flow)
		case !p.decided:
			s.keep(p, e)
		default:
			s.forget(p)
		}
	}
	if p.picked {
		s.next.Event(e)
	}
	if e.Kind == session.KindEnd {
		s.forget(p)
		delete(s.flows, e.Flow.ID)
	}
}

// decide says whether a flow is picked, if that can be told yet: the server's name with its hello, the
// client's certificate when the handshake is over.
func (s *selector) decide(e *session.Event) (picked, decided bool) {
	f := e.Flow
	if e.Kind == session.KindEnd {
		return s.named(f) && s.subject(f), true
	}
	if f.TLS && f.ServerName != "" || e.Kind == session.KindHello {
		if !s.named(f) {
			return false, true
		}
		if s.sel.ClientSubject == nil {
			return true, true
		}
	}
	if s.sel.ClientSubject != nil && len(f.ClientChain) > 0 {
		ok := s.subject(f)
		return ok && s.named(f), true
	}
	return false, false
}

func (s *selector) named(f *session.Flow) bool {
	if len(s.sel.ServerNames) == 0 {
		return true
	}
	name := strings.ToLower(strings.TrimSuffix(f.ServerName, "."))
	return slices.ContainsFunc(s.sel.ServerNames, func(pattern string) bool {
		ok, err := path.Match(strings.ToLower(pattern), name)
		return ok && err == nil
	})
}

func (s *selector) subject(f *session.Flow) bool {
	return s.sel.ClientSubject == nil || len(f.ClientChain) > 0 && s.sel.ClientSubject(f.ClientChain[0])
}

// over reports whether too much is kept to wait for a decision any longer. The flow is left out.
func (s *selector) over(p *pending) bool { return p.size > maxPendingFlow || s.held > maxPendingTotal }

func (s *selector) keep(p *pending, e *session.Event) {
	k := kept{ev: *e, flow: *e.Flow}
	k.ev.Data = bytes.Clone(e.Data)
	p.events = append(p.events, k)
	n := len(e.Data) + eventCost
	p.size += n
	s.held += n
}

// show hands on what was kept. The handler sees the flow under the address it will keep.
func (s *selector) show(p *pending, flow *session.Flow) {
	now := *flow
	for i := range p.events {
		*flow = p.events[i].flow
		p.events[i].ev.Flow = flow
		s.next.Event(&p.events[i].ev)
	}
	*flow = now
	s.forget(p)
}

func (s *selector) forget(p *pending) {
	s.held -= p.size
	p.events, p.size = nil, 0
}
