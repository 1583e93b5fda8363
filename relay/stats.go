// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// Reason says how the relay's part of a flow ended.
type Reason uint8

// The reasons.
const (
	EndedInOrder     Reason = iota // both peers closed
	EndedByClient                  // the client's leg broke: a reset, or no answer any more
	EndedByServer                  // the server's leg broke
	EndedRefused                   // as the policy says, by alert or reset
	EndedIdle                      // nothing came for IdleTimeout
	EndedByShutdown                // still there when the drain was over
	EndedDialFailed                // the server could not be reached
	EndedByTheKernel               // a socket failed in a way that no peer causes
	numReasons
)

// String returns one word for metrics and logs.
func (r Reason) String() string {
	return [...]string{
		"closed", "client_reset", "server_reset", "refused", "idle", "shutdown", "dial_failed", "socket_error", "",
	}[min(r, numReasons)]
}

// Reasons returns all reasons.
func Reasons() []Reason {
	all := make([]Reason, numReasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// Observer is told what happens to flows, for logs and metrics. Its methods are called on the loops that
// carry the flows, several at once: they must be quick and must not call the Server.
type Observer interface {
	// Dialled says how long the server took to answer, before the flow's first byte is relayed.
	Dialled(took time.Duration)
	// DialFailed says that the client was reset because the server could not be reached.
	DialFailed(client, target netip.AddrPort, err error)
	// Ended says that a flow is over. The flow is the engine's own and only good during the call.
	Ended(f *session.Flow, why Reason, err error)
	// Panicked says that the engine of a flow panicked. f must not be kept.
	Panicked(f *session.Flow, value any, stack []byte)
	// OverLimit says that a client was reset because MaxFlows was reached.
	OverLimit(client, target netip.AddrPort)
	// AcceptFailed says that a connection could not be accepted, and that the listener goes on.
	AcceptFailed(err error)
}

// NopObserver ignores everything; embed it to implement a part of Observer.
type NopObserver struct{}

// Dialled implements Observer.
func (NopObserver) Dialled(time.Duration) {}

// DialFailed implements Observer.
func (NopObserver) DialFailed(_, _ netip.AddrPort, _ error) {}

// Ended implements Observer.
func (NopObserver) Ended(*session.Flow, Reason, error) {}

// Panicked implements Observer.
func (NopObserver) Panicked(*session.Flow, any, []byte) {}

// OverLimit implements Observer.
func (NopObserver) OverLimit(_, _ netip.AddrPort) {}

// AcceptFailed implements Observer.
func (NopObserver) AcceptFailed(error) {}

// Stats are counts since the server was made, and gauges.
type Stats struct {
	Accepted       uint64 // connections
	Active         uint64 // gauge: flows, dialling or relaying
	OverLimit      uint64 // reset because of MaxFlows
	AcceptFailures uint64
	Panics         uint64 // of engines
	Ended          [numReasons]uint64
	Refused        map[session.Cause]uint64
	Bytes          [2]uint64 // relayed, by sender, those of Spliced included
	Spliced        [2]uint64 // relayed in the kernel, by sender
}

// counters are a loop's, so that no two processors share a line of memory.
type counters struct {
	accepted, overLimit, acceptFailures, panics atomic.Uint64
	ended                                       [numReasons]atomic.Uint64
	bytes, spliced                              [2]atomic.Uint64

	refusedMu sync.Mutex
	refused   map[session.Cause]uint64
}

func (n *counters) countRefused(c session.Cause) {
	n.refusedMu.Lock()
	defer n.refusedMu.Unlock()
	if n.refused == nil {
		n.refused = make(map[session.Cause]uint64)
	}
	n.refused[c]++
}

// Stats returns the counts as they are now.
func (s *Server) Stats() Stats {
	st := Stats{Active: uint64(max(0, s.active.Load())), Refused: make(map[session.Cause]uint64)}
	for _, l := range s.loops {
		l.counters.addTo(&st)
	}
	return st
}

func (n *counters) addTo(st *Stats) {
	st.Accepted += n.accepted.Load()
	st.OverLimit += n.overLimit.Load()
	st.AcceptFailures += n.acceptFailures.Load()
	st.Panics += n.panics.Load()
	for r := range st.Ended {
		st.Ended[r] += n.ended[r].Load()
	}
	for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
		st.Bytes[side] += n.bytes[side].Load()
		st.Spliced[side] += n.spliced[side].Load()
	}
	n.refusedMu.Lock()
	defer n.refusedMu.Unlock()
	for c, k := range n.refused {
		st.Refused[c] += k
	}
}
