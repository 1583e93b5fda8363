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
	// refused is set while a refusal waits for the client's record to end, so that the alert to the
	// server can follow it.
	refused Cause
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
	case side == handshake.Client && s.verdict == Refuse:
		return int(d.fed - d.pos) // what came after the last whole record
	case side == handshake.Client:
		return 0
	case s.flight.held:
		return int(d.fed - s.flight.at)
	case s.holdsPartial(d):
		return int(d.fed - d.pos)
	}
	return 0
}

// holdsPartial reports whether the beginning of a record is held for what it may turn out to be.
func (s *Session) holdsPartial(d *direction) bool {
	kept := d.kept()
	return d.mode == modeRecords && len(kept) > 0 && s.gates(d, handshake.ContentType(kept[0]))
}

// gates reports whether a record of the server's has to be seen before it is released: one that
// belongs to an unjudged flight, or a protected handshake message that may begin another. The
// Finished, first after a ChangeCipherSpec, is neither, and need not wait for the private key.
func (s *Session) gates(d *direction, typ handshake.ContentType) bool {
	if !s.cfg.Inline || d.side == handshake.Client || typ != handshake.ContentHandshake {
		return false
	}
	return s.neg != nil && !s.neg.judged || d.changed && d.protected > 0
}

// gate counts a record and begins to hold if it has to.
func (s *Session) gate(d *direction, at uint64, typ handshake.ContentType) {
	if !s.flight.held && s.gates(d, typ) {
		s.flight = flight{held: true, at: at, sealed: d.sealed()}
	}
	switch {
	case typ == handshake.ContentChangeCipherSpec && (s.neg == nil || s.neg.server != nil):
		d.changed, d.protected = true, 0
	case typ == handshake.ContentHandshake && d.changed:
		d.protected++
	}
}

// settle releases what is held when it has been judged.
func (s *Session) settle() {
	if !s.flight.held || s.blocked() || s.flight.refused != CauseNone || s.verdict == Refuse {
		return
	}
	if s.neg == nil || s.neg.judged {
		s.flight = flight{}
	}
}

// Ahead returns how many leading bytes of b, the next of a side, may be relayed before they are
// fed. It changes nothing.
func (s *Session) Ahead(side handshake.Side, b []byte) int {
	d := &s.dir[side]
	switch {
	case s.verdict == Refuse:
		return 0
	case s.flight.refused != CauseNone:
		return 0
	case d.mode == modeClear && s.prologueLimit() == 0:
		return 0
	case side == handshake.Client || s.verdict == Bypass || d.mode != modeRecords:
		return len(b)
	case s.flight.held || s.holdsPartial(d):
		return 0
	}
	return s.aheadRecords(d, b)
}

// aheadRecords walks the headers in b up to the first record that has to be seen first.
func (s *Session) aheadRecords(d *direction, b []byte) int {
	at := 0
	if kept := d.kept(); len(kept) > 0 {
		if len(kept) < handshake.RecordHeaderLen {
			return 0
		}
		size, ok := d.size(kept)
		if !ok {
			return len(b)
		}
		at = size - len(kept)
	}
	for at < len(b) {
		if s.gates(d, handshake.ContentType(b[at])) {
			return at
		}
		size, ok := d.size(b[at:])
		if !ok || size == 0 {
			break
		}
		at += size
	}
	return len(b)
}

// act does what the policy says about a cause.
func (s *Session) act(c Cause, states alertStates) {
	s.flow.Action = s.cfg.Policy[c]
	switch s.flow.Action {
	case ActionAlert:
		s.alertBoth(c, states)
	case ActionReset:
		s.refuse(&Refusal{Cause: c, Action: ActionReset})
	default:
		s.flow.Action = ActionForward
		s.verdict = Bypass
		s.flight = flight{}
	}
}

func (s *Session) refuse(r *Refusal) {
	s.verdict = Refuse
	s.refusal = r
	s.flow.Action = r.Action
	s.flight.refused = CauseNone
}
