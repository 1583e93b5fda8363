// SPDX-License-Identifier: Apache-2.0

package session

import (
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record"
)

// Verdict says what an inline feed does with the flow. It only ever moves on: from Undecided to any
// other, and from Relay to Bypass or Refuse, which are final.
type Verdict uint8

// The verdicts.
const (
	Undecided Verdict = iota // relay all but what is Held
	Relay                    // the conditions hold: relay, and go on feeding
	Bypass                   // relay; nothing need be fed any more
	Refuse                   // relay nothing more: Refusal says how to end the flow
)

// String returns the verdict's name.
func (v Verdict) String() string {
	return [...]string{"undecided", "relay", "bypass", "refuse"}[v&3]
}

// Refusal says how an inline feed ends a flow. For ActionAlert it sends each side the given whole
// records, after all that was released to it, and then closes in order; for ActionReset it resets
// both legs.
type Refusal struct {
	Cause    Cause
	Action   Action
	ToClient []byte
	ToServer []byte
}

// flight is what of the server's is held until it is judged.
type flight struct {
	held   bool
	at     uint64         // offset of the first byte held, which begins a record
	sealed bool           // that record is protected
	before *record.Opener // the server's protection as it was there; nil: not known yet, or none
}

// seen is what was seen of a direction's handshake records, opened or not.
type seen struct {
	changed   bool   // a ChangeCipherSpec
	protected int    // handshake records since
	handshake uint32 // that the ChangeCipherSpec belongs to: each has one a side
}

// Verdict returns what to do with the flow.
func (s *Session) Verdict() Verdict { return s.verdict }

// Refusal returns how to end the flow; nil unless the verdict is Refuse.
func (s *Session) Refusal() *Refusal { return s.refusal }

// Held returns how many of the last bytes fed of a side must not be relayed yet.
func (s *Session) Held(side handshake.Side) int {
	d := &s.dir[side]
	switch {
	case !s.cfg.Inline || s.verdict == Bypass:
		return 0
	case side == handshake.Server && s.flight.held:
		return int(d.fed - s.flight.at)
	case s.verdict == Refuse || s.holdsPartial(d) || s.holdsClear(d, nil):
		return int(d.fed - d.pos) // what came after the last whole record
	}
	return 0
}

// unjudged reports whether a handshake message of the server's would belong to a flight that is not
// judged.
func (s *Session) unjudged() bool {
	if s.neg == nil {
		return !s.established
	}
	return !s.neg.judged
}

// holdsPartial reports whether the beginning of a record is held for what it may turn out to be.
func (s *Session) holdsPartial(d *direction) bool {
	kept := d.kept()
	return d.mode == modeRecords && len(kept) > 0 && !d.passing && s.gates(d, d.seen, kept)
}

// holdsClear reports whether the first bytes of the server's, those kept and b, are held because they
// may begin a record.
func (s *Session) holdsClear(d *direction, b []byte) bool {
	if !s.cfg.Inline || d.side == handshake.Client || d.mode != modeClear || d.started {
		return false
	}
	kept := d.kept()
	if len(kept) == 0 {
		return len(b) > 0 && looksLikeRecord(b) != handshake.No
	}
	// Only what may still be a record is kept.
	return true
}

// gates reports whether the record that begins with b, not all of it perhaps, has to be seen before it
// is released: a handshake record of the server's that belongs to an unjudged flight, or a protected
// one that may begin another. The Finished, first after a ChangeCipherSpec, is neither, and need not
// wait for the private key.
func (s *Session) gates(d *direction, seen seen, b []byte) bool {
	switch {
	case !s.cfg.Inline || d.side == handshake.Client:
		return false
	case s.unjudged() && len(b) < handshake.RecordHeaderLen:
		return true // it may be no record at all
	case handshake.ContentType(b[0]) != handshake.ContentHandshake:
		return false
	case s.unjudged():
		return true
	case !seen.changed:
		return false
	case s.neg == nil || seen.protected > 0 || len(b) < handshake.RecordHeaderLen:
		return true
	}
	return int(b[3])<<8|int(b[4]) > s.finishedSize
}

// sizeOfFinished is the most that a protected record's body takes if a Finished is all there is in it.
func (n *negotiation) sizeOfFinished() int {
	v := n.server.SelectedVersion()
	size := 4 + 12 // RFC 5246, Section 7.4.9
	if v == handshake.SSL30 {
		size = 4 + 36 // RFC 6101, Section 5.6.9
	}
	if n.server.Compression != 0 {
		size += 16 // two headers, a stored block and an empty one
	}
	c, mac := n.suite.Cipher.Params(), n.suite.MAC.Len()
	switch c.Kind {
	case handshake.KindAEAD:
		return c.ExplicitNonceLen + size + c.TagLen
	case handshake.KindBlock:
		if v > handshake.TLS10 {
			size += c.BlockLen // the IV
		}
		size += c.BlockLen // the padding
	}
	return size + mac
}

// gate counts a record and begins to hold if it has to.
func (s *Session) gate(d *direction, at uint64, rec []byte) {
	if !s.flight.held && !d.passing && s.gates(d, d.seen, rec) {
		s.flight = flight{held: true, at: at, sealed: d.sealed()}
	}
	d.passing = false
	d.seen = s.count(d.seen, handshake.ContentType(rec[0]))
}

// pass notes that the beginning of a record is not held. Whatever comes now, its rest is not, either.
func (s *Session) pass() {
	d := &s.dir[handshake.Server]
	d.passing = d.passing || !s.flight.held && len(d.kept()) > 0 && d.mode == modeRecords && !s.holdsPartial(d)
}

// count returns what has been seen after one record more.
func (s *Session) count(seen seen, typ handshake.ContentType) seen {
	switch {
	case typ == handshake.ContentChangeCipherSpec && s.neg != nil && s.neg.server != nil &&
		seen.handshake != s.neg.number:
		seen.changed, seen.protected, seen.handshake = true, 0, s.neg.number
	case typ == handshake.ContentHandshake && seen.changed:
		seen.protected++
	}
	return seen
}

// settle releases what is held when it has been judged, or was whole and no part of a flight.
func (s *Session) settle() {
	switch {
	case !s.flight.held || s.blocked() || s.later != nil || s.verdict == Refuse || s.unjudged():
	case s.neg == nil && s.dir[handshake.Server].messages.Pending() > 0:
	default:
		s.flight = flight{}
		if n := s.neg; n != nil && n.server == nil {
			n.judged = false // after a HelloRetryRequest: the ServerHello is yet to come
		}
	}
}

// Ahead returns how many leading bytes of b, the next of a side, may be relayed before they are
// fed. It changes nothing.
func (s *Session) Ahead(side handshake.Side, b []byte) int {
	d := &s.dir[side]
	switch {
	case s.verdict == Refuse || s.later != nil:
		return 0
	case d.mode == modeClear && (s.prologueLimit() == 0 || s.holdsClear(d, b)):
		return 0
	case side == handshake.Client || s.verdict == Bypass || d.mode != modeRecords:
		return len(b)
	case s.flight.held || s.holdsPartial(d):
		return 0
	}
	return s.aheadRecords(d, b)
}

// promises reports whether a record of the server's may bring a ticket. Its client can come back with it
// as soon as it has it, so the ticket is remembered first; nothing waits for the private key.
func (s *Session) promises(seen seen, b []byte) bool {
	return s.cfg.Store != nil && s.neg != nil && !seen.changed && len(b) > 0 &&
		handshake.ContentType(b[0]) == handshake.ContentHandshake
}

// aheadRecords walks the headers in b up to the first record that has to be seen first, or to what is
// no record.
func (s *Session) aheadRecords(d *direction, b []byte) int {
	at, seen := 0, d.seen
	if kept := d.kept(); len(kept) > 0 {
		size, ok := d.size(kept)
		if !ok || size == 0 || s.promises(seen, kept) {
			return 0
		}
		at = size - len(kept)
		seen = s.count(seen, handshake.ContentType(kept[0]))
	}
	for at < len(b) {
		size, ok := d.size(b[at:])
		if !ok || s.gates(d, seen, b[at:]) || s.promises(seen, b[at:]) {
			return at
		}
		if size == 0 {
			return len(b)
		}
		seen = s.count(seen, handshake.ContentType(b[at]))
		at += size
	}
	return len(b)
}

// act does what the policy says about a cause.
func (s *Session) act(c Cause, states alertStates) {
	action := s.cfg.Policy[c]
	if c == Overload && s.flight.held {
		action = ActionReset // a flight that nobody judged is not forwarded for want of time
	}
	switch action {
	case ActionForward:
		s.flow.Action = ActionForward
		s.verdict = Bypass
		s.flight = flight{}
	case ActionAlert:
		s.alertBoth(c, states)
	default:
		s.refuse(&Refusal{Cause: c, Action: ActionReset})
	}
}

func (s *Session) refuse(r *Refusal) {
	s.verdict = Refuse
	s.refusal = r
	s.flow.Action = r.Action
}
