// SPDX-License-Identifier: Apache-2.0

// Package session reads one TLS connection. Bytes of each direction and their time go in; a
// verdict and events come out. It does no I/O, starts no goroutine and reads no clock, and gives
// the same events for the same bytes however they are cut, whether a relay or a capture feeds it.
package session

import (
	"fmt"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/keylog"
	"github.com/sightglass/sightglass/rsakex"
)

// Defaults for the bounds of a Config, in bytes.
const (
	// DefaultPrologueLimit is how much plaintext, of both sides together, may come before a
	// ClientHello. Protocols that start TLS late do so within their first commands.
	DefaultPrologueLimit = 64 << 10
	// DefaultMaxHandshake bounds the messages of one handshake, both sides together: a chain of
	// 64 KiB fits, and so do two.
	DefaultMaxHandshake = 256 << 10
	// DefaultMaxBacklog bounds what is queued while the private key is at work.
	DefaultMaxBacklog = 256 << 10
)

// Config is shared by all sessions of a process and must not change while any of them lives.
type Config struct {
	Ring    *rsakex.Ring     // certificates and keys; nil: none
	Keys    rsakex.Decrypter // the wall around the private key; nil: none
	Store   *rsakex.Store    // resumption secrets; nil: resumed sessions are unknown
	KeyLog  keylog.Source    // secrets that a peer logged; nil: none
	Handler Handler          // takes the events; nil: none
	// KeyLogGrows says that a secret which is not in KeyLog yet may still come: a flow waits for it.
	KeyLogGrows bool

	// Room, if set, lends n bytes for the plaintext of one record, so that a Handler that keeps it
	// need not copy it. Those of a KindData event that are the last lent are the Handler's from then
	// on; others may be lent again.
	Room func(n int) []byte
	// BeforeResume, if set, is called before a session is looked up in Store. A feed that reads
	// several flows at once waits in it for those whose bytes came earlier.
	BeforeResume func()
	// LateSessions, if set, is called when a session is not in Store, by a feed that may be about to
	// read the flow which puts it there. It is looked up again when the secret that LateSessions returns
	// has settled, however that is, or when too much has come; nil: not again.
	LateSessions func() *rsakex.Secret

	// MatchPublicKey compares the public key of the presented certificate, not the whole leaf.
	MatchPublicKey bool
	// Inline holds, judges and refuses; otherwise the engine only watches.
	Inline bool
	Policy Policy // inline only

	PrologueLimit int // bytes; 0: DefaultPrologueLimit
	MaxHandshake  int // bytes; 0: DefaultMaxHandshake
	MaxBacklog    int // bytes; 0: DefaultMaxBacklog
}

func (c *Config) maxHandshake() int { return orDefault(c.MaxHandshake, DefaultMaxHandshake) }

func orDefault(n, fallback int) int {
	if n > 0 {
		return n
	}
	return fallback
}

// Session is the engine of one connection. It is not safe for concurrent use.
type Session struct {
	cfg  *Config
	flow Flow
	dir  [2]direction
	ev   Event
	now  time.Time

	neg         *negotiation // the handshake in progress; nil before and after
	begun       uint32       // handshakes begun, to tell one from another
	established bool         // a first handshake was completed
	prologue    int          // bytes of both sides before a ClientHello
	tls13       *schedule13  // TLS 1.3 only

	// finishedSize is the most that a record's body takes if a Finished is all there is in it.
	finishedSize int

	// Inline.
	verdict Verdict
	refusal *Refusal
	flight  flight
	later   *putOff // a refusal that waits for the end of a record

	// What waits for a secret.
	waiting        *rsakex.Secret
	impatient      bool // for a session that is not known: it is not waited for
	waitsLog       bool // a growing key log, without which:
	unlogged       Cause
	unloggedDetail string
	queue          []queued
	queueSize      int

	ended bool
}

// New returns the engine of a flow whose ID, addresses and Start are set. It emits KindOpen.
func New(cfg *Config, f Flow) *Session {
	s := &Session{cfg: cfg, flow: f, now: f.Start}
	s.dir[handshake.Client].side = handshake.Client
	s.dir[handshake.Server].side = handshake.Server
	s.dir[0].messages.Limit = cfg.maxHandshake()
	s.dir[1].messages.Limit = cfg.maxHandshake()
	s.emit(KindOpen, handshake.Client)
	return s
}

// Flow returns what is known of the connection. It is the session's own: read it between calls.
func (s *Session) Flow() *Flow { return &s.flow }

// HandshakeDone reports whether no handshake is in progress and nothing is held, so that no bound on
// its time applies: before a ClientHello, and after an established, bypassed or failed one.
func (s *Session) HandshakeDone() bool {
	switch {
	case s.verdict == Bypass || s.verdict == Refuse:
		return true
	case s.flight.held || s.later != nil:
		return false
	}
	return s.neg == nil || s.flow.Cause != CauseNone
}

// Feed takes the next bytes of one direction, as they came. It neither changes nor keeps b.
func (s *Session) Feed(side handshake.Side, t time.Time, b []byte) {
	if s.ended || len(b) == 0 {
		return
	}
	s.now = t
	d := &s.dir[side]
	d.fed += uint64(len(b))
	s.flow.Bytes[side] += uint64(len(b))
	if s.waitsLog {
		s.drain()
		s.now = t
	}
	for len(b) > 0 {
		switch d.mode {
		case modeClear:
			b = s.feedClear(d, b)
		case modePlain:
			s.plainData(side, b)
			b = nil
		case modeRecords:
			b = s.feedRecords(d, b)
		case modeHunt:
			b = s.feedHunt(d, b)
		case modeRest:
			b = s.feedRest(d, b)
		default:
			b = nil
		}
	}
	s.settle()
	s.pass()
}

// CloseSide says that a side ended its direction in order, after all its bytes.
func (s *Session) CloseSide(side handshake.Side, t time.Time) {
	s.connectionEvent(KindFin, side, t)
}

// Reset says that a side broke the connection.
func (s *Session) Reset(side handshake.Side, t time.Time) {
	s.connectionEvent(KindReset, side, t)
}

func (s *Session) connectionEvent(k Kind, side handshake.Side, t time.Time) {
	if s.ended {
		return
	}
	s.now = t
	d := &s.dir[side]
	if d.mode == modeClear {
		s.flushClear(d)
	}
	if d.mode == modeHunt {
		s.endHunt(d)
	}
	if s.blocked() {
		s.enqueue(queued{kind: queuedEvent, event: k, side: side, time: t})
		return
	}
	s.emit(k, side)
	if s.later != nil && side == handshake.Client {
		s.refuseNow() // the record that the refusal waits for will not end
	}
}

// Fail stops the reading for a reason that the feed found.
func (s *Session) Fail(c Cause, detail string, t time.Time) {
	if s.ended {
		return
	}
	s.now = t
	if s.later != nil {
		s.refuseNow() // it has waited long enough
	}
	s.fail(c, detail)
}

// End says that the feed is done with the flow. It emits KindEnd, once, and returns the flow.
func (s *Session) End(t time.Time) *Flow {
	if s.ended {
		return &s.flow
	}
	s.now = t
	s.finish()
	s.conclude()
	s.flow.End = t
	s.now = t
	s.emit(KindEnd, handshake.Client)
	s.ended = true
	s.release()
	return &s.flow
}

// finish deals with what was still open when the flow ended.
func (s *Session) finish() {
	if s.later != nil {
		s.refuseNow()
	}
	for i := range s.dir {
		d := &s.dir[i]
		switch d.mode {
		case modeClear:
			s.flushClear(d)
		case modeHunt:
			s.endHunt(d)
		}
	}
	s.impatient = true
	if s.waitsLog || s.awaitsSession() {
		s.drain()
	}
	switch {
	case s.waitsLog:
		s.fail(s.unlogged, s.unloggedDetail)
	case s.waiting != nil:
		s.fail(Overload, "the flow ended before the private key had opened it")
	}
	s.flushEvents()
}

// flushEvents emits the connection's own events that were queued behind records nobody can read.
func (s *Session) flushEvents() {
	for _, q := range s.queue {
		if q.kind == queuedEvent {
			s.now = q.time
			s.emit(q.event, q.side)
		}
	}
	s.dropQueue()
}

// conclude gives the flow its outcome, and its cause if it was not fully read.
func (s *Session) conclude() {
	f := &s.flow
	if f.Cause == CauseNone {
		f.Cause, f.Detail = s.unread()
	}
	switch {
	case f.Cause == CauseNone:
		f.Outcome, f.Detail = OutcomeRead, s.remark()
	case s.established && f.Records[0]+f.Records[1] > 0:
		f.Outcome = OutcomePartial
	default:
		f.Outcome = OutcomeUnread
	}
}

// unread says why a flow that ended with nothing wrong was not fully read, if it was not.
func (s *Session) unread() (Cause, string) {
	f := &s.flow
	lost := f.Gaps[0] + f.Gaps[1]
	switch {
	case !f.TLS && (lost == 0 || f.Plaintext[0]+f.Plaintext[1] > 0):
		return NotTLS, "no ClientHello was seen"
	case lost > 0:
		return PacketLoss, fmt.Sprintf("%d bytes were not captured", lost)
	case s.tls13 != nil && s.tls13.early.accepted && s.tls13.early.unread:
		return TLS13, "no key log opens the early data"
	case !s.established && s.neg != nil && s.neg.unread != CauseNone:
		// The connection ended before there was anything to read: what was judged still says most.
		return s.neg.unread, s.neg.unreadDetail
	}
	return CauseNone, ""
}

// remark says what a flow that was read may lack: its peers' doing, not the reader's.
func (s *Session) remark() string {
	switch {
	case !s.established:
		return "what came of the connection ends before its handshake does"
	case len(s.dir[0].kept())+len(s.dir[1].kept()) > 0:
		return "what came of the connection ends amid a record"
	}
	return ""
}

// fail ends the reading of this flow. Only the first cause counts.
func (s *Session) fail(c Cause, detail string) {
	if s.flow.Cause != CauseNone {
		return
	}
	if (c == Malformed || c == HandshakeTooLarge) && s.missing() {
		// Most likely it is the hole that makes it look so.
		c, detail = PacketLoss, "after lost bytes: "+detail
	}
	s.flow.Cause, s.flow.Detail = c, detail
	states := s.states()
	if s.putsOff(c, states) {
		return
	}
	for i := range s.dir {
		s.dir[i].stop()
	}
	s.flushEvents()
	if s.cfg.Inline {
		s.act(c, states)
	}
	s.neg = nil
}

// missing reports whether bytes were lost.
func (s *Session) missing() bool {
	return s.flow.Gaps[0]+s.flow.Gaps[1] > 0 || s.dir[0].missing+s.dir[1].missing > 0
}

// release lets go of all memory but the flow's.
func (s *Session) release() {
	for i := range s.dir {
		s.dir[i].stop()
	}
	s.neg, s.later = nil, nil
	s.dropQueue()
	s.flight = flight{}
}

func (s *Session) emit(k Kind, side handshake.Side) {
	s.ev = Event{Kind: k, Side: side, Time: s.now, Flow: &s.flow}
	s.send()
}

func (s *Session) send() {
	if s.cfg.Handler != nil {
		s.cfg.Handler.Event(&s.ev)
	}
	s.ev.Data = nil
}

// protectedData emits what was opened and verified.
func (s *Session) protectedData(d *direction, b []byte) {
	if len(b) == 0 {
		return
	}
	s.flow.Plaintext[d.side] += uint64(len(b))
	early := s.tls13 != nil && s.tls13.level[d.side] == levelEarly
	s.ev = Event{Kind: KindData, Side: d.side, Time: s.now, Flow: &s.flow, Data: b, Early: early}
	s.send()
}

// plainData emits what was never protected.
func (s *Session) plainData(side handshake.Side, b []byte) {
	if len(b) == 0 {
		return
	}
	s.flow.Plaintext[side] += uint64(len(b))
	s.ev = Event{Kind: KindData, Side: side, Time: s.now, Flow: &s.flow, Data: b, Clear: true}
	s.send()
}

func (s *Session) gapEvent(side handshake.Side, n int) {
	s.flow.Gaps[side] += uint64(n)
	s.ev = Event{Kind: KindGap, Side: side, Time: s.now, Flow: &s.flow, Lost: n}
	s.send()
}

func (s *Session) alertEvent(side handshake.Side, a handshake.Alert, injected bool) {
	s.ev = Event{Kind: KindAlert, Side: side, Time: s.now, Flow: &s.flow, Alert: a, Injected: injected}
	s.send()
}
