// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/sightglass/sightglass/capture/decap"
	"github.com/sightglass/sightglass/capture/reassembly"
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// engine reads one connection. *session.Session is one.
type engine interface {
	Feed(side handshake.Side, t time.Time, b []byte)
	Gap(side handshake.Side, t time.Time, n int)
	CloseSide(side handshake.Side, t time.Time)
	Reset(side handshake.Side, t time.Time)
	Fail(c session.Cause, detail string, t time.Time)
	End(t time.Time) *session.Flow
	Waiting() *rsakex.Secret
	Backlog() int
	Resume(t time.Time)
	Flow() *session.Flow
}

// flow is one connection that is being followed, or whose late packets are.
type flow struct {
	t    *tracker
	key  flowKey
	conn *reassembly.Conn // nil after the end
	past reassembly.Past  // after the end
	eng  engine           // nil before there is data, and after the end
	ref  *flowRef         // where its events are recorded to; nil: nowhere

	first uint64 // number of its first packet
	start int64
	last  int64 // time of its last packet
	endAt int64 // when it is to be ended; 0: not decided

	client  int8 // direction of the client; -1: not known
	list    int8 // the list it is on
	over    bool // ended; kept for late packets
	waiting bool // on the list of flows that time goes on for
	shunted bool // its packets are dropped by the kernel
	fins    [2]bool
	vlan    uint16
	iface   string
	secret  *rsakex.Secret // that its session waits for, or waited for last; live only
	queued  int            // bytes that wait for it

	prev, next   *flow // of its list
	wprev, wnext *flow
}

// side returns which side a direction's sender is.
func (f *flow) side(dir int) handshake.Side {
	if dir == int(f.client) {
		return handshake.Client
	}
	return handshake.Server
}

// Data takes the next bytes of a direction.
func (f *flow) Data(dir int, b []byte) {
	if f.over {
		return
	}
	f.begin(dir, b)
	f.eng.Feed(f.side(dir), f.t.time(), b)
	f.t.fed(f)
}

// Gap takes a hole in a direction.
func (f *flow) Gap(dir, n int) {
	if f.over {
		return
	}
	f.begin(dir, nil)
	f.eng.Gap(f.side(dir), f.t.time(), n)
}

// Fin takes the end of a direction.
func (f *flow) Fin(dir int) {
	if f.eng != nil {
		f.eng.CloseSide(f.side(dir), f.t.time())
	}
}

// Reset takes a reset. Bytes of the other side that were under way may still come.
func (f *flow) Reset(dir int) {
	if f.eng != nil {
		f.eng.Reset(f.side(dir), f.t.time())
	}
	if f.endAt == 0 {
		f.endAt = f.t.now + afterReset
	}
}

// shuntedPacket takes what comes of a flow that the kernel drops: what ends it.
func (f *flow) shuntedPacket(dir int, flags decap.Flags) {
	f.t.enter(f)
	switch {
	case flags&decap.RST != 0:
		f.Reset(dir)
	case flags&decap.FIN != 0 && !f.fins[dir]:
		f.fins[dir] = true
		f.Fin(dir)
		if f.fins[1-dir] {
			f.finish()
		}
	}
}

// begin makes the session when the first bytes come.
func (f *flow) begin(dir int, b []byte) {
	if f.eng != nil {
		return
	}
	if f.client < 0 {
		f.client = int8(f.guessClient(dir, b))
	}
	c := int(f.client)
	f.t.counters.flows++
	f.t.enter(f)
	f.eng = f.t.newEngine(session.Flow{
		ID: f.first, Client: f.key.endpoint(c), Server: f.key.endpoint(1 - c),
		Start: time.Unix(0, f.start), VLAN: f.vlan, Interface: f.iface, NoSYN: !f.conn.Begun(),
	})
}

// guessClient says which direction is the client's, where no SYN tells: that of a ClientHello, or
// else that of the higher port.
func (f *flow) guessClient(dir int, b []byte) int {
	switch {
	case handshake.LooksLikeClientHello(b) == handshake.Yes:
		return dir
	case looksLikeServerHello(b):
		return 1 - dir
	case f.key.port[0] > f.key.port[1]:
		return 0
	case f.key.port[0] < f.key.port[1]:
		return 1
	}
	return dir
}

// looksLikeServerHello reports whether b begins with a record that begins with a ServerHello.
func looksLikeServerHello(b []byte) bool {
	return len(b) > handshake.RecordHeaderLen && b[0] == byte(handshake.ContentHandshake) && b[1] == 3 &&
		b[handshake.RecordHeaderLen] == byte(handshake.TypeServerHello)
}

// end ends the session, after all that is held.
func (f *flow) end() {
	if f.over {
		return
	}
	f.t.enter(f)
	if f.conn != nil {
		f.conn.Flush(f.t.pool, f)
	}
	f.finish()
}

// finish ends the session and keeps of the flow only what recognises late packets.
func (f *flow) finish() {
	f.over = true
	if f.eng != nil {
		f.eng.End(f.t.time())
		f.eng = nil
	}
	f.ref, f.secret = nil, nil
	f.forgetConn()
	if f.t.onEnd != nil {
		f.t.onEnd(f)
	}
}

// forgetConn gives the memory of the reassembly back.
func (f *flow) forgetConn() {
	if f.conn != nil {
		f.conn.Drop(f.t.pool)
		f.past, f.conn = f.conn.Past(), nil
	}
}

// caught ends a flow whose processing failed in a way that it must not: the others go on.
func (f *flow) caught(reason any) {
	t := f.t
	if len(t.counters.panics) < maxPanics {
		t.counters.panics = append(t.counters.panics, fmt.Errorf("internal error in flow %v to %v: %v\n%s",
			f.key.endpoint(0), f.key.endpoint(1), reason, debug.Stack()))
	}
	defer func() {
		if recover() != nil { // the session is beyond saving
			f.over, f.eng, f.ref = true, nil, nil
			f.forgetConn()
		}
	}()
	if f.over {
		return
	}
	if f.eng != nil {
		f.eng.Fail(session.Malformed, "internal error", t.time())
	}
	f.finish()
}
