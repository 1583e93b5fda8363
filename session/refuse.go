// SPDX-License-Identifier: Apache-2.0

package session

import (
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record"
)

// alertStates are the two directions' protection at the places where an alert would go, kept when
// the reading ends.
type alertStates struct {
	version  handshake.Version
	toClient alertState
	toServer alertState
}

// alertState is one direction's protection; opener nil and not sealed: plaintext.
type alertState struct {
	opener *record.Opener
	sealed bool // protected, whether or not we hold its keys
	split  bool // a record is half relayed, so that nothing can follow it
}

// states notes how an alert could be sent to each side.
func (s *Session) states() alertStates {
	v := &s.dir[handshake.Server]
	a := alertStates{
		version:  s.recordVersion(),
		toServer: s.stateOf(&s.dir[handshake.Client]),
		toClient: s.stateOf(v),
	}
	if s.flight.held {
		// The alert takes the place of what is held, which begins with a whole record.
		a.toClient = alertState{opener: s.flight.before, sealed: s.flight.sealed}
	} else if s.holdsPartial(v) {
		a.toClient.split = false
	}
	return a
}

// stateOf is a direction's protection where it stands.
func (s *Session) stateOf(d *direction) alertState {
	a := alertState{opener: d.opener, sealed: d.sealed(), split: d.inRecord()}
	if a.sealed && s.queuedOf(d.side) {
		a.opener = nil // it is behind what was relayed
	}
	return a
}

// sealed reports whether the direction's next record is a protected one.
func (d *direction) sealed() bool { return d.opener != nil || d.seen.changed }

// recordVersion is the version that both peers would expect in a record header now.
func (s *Session) recordVersion() handshake.Version {
	switch v := s.flow.Version; {
	case v == handshake.TLS13:
		return handshake.TLS12 // RFC 8446, Section 5.1
	case v >= handshake.SSL30 && v < handshake.TLS13:
		return v
	case s.neg != nil && s.neg.hello != nil && s.neg.hello.Version >= handshake.SSL30 &&
		s.neg.hello.Version < handshake.TLS13:
		return s.neg.hello.Version
	}
	return handshake.TLS10
}

// can reports whether an alert can be the direction's next record.
func (a alertState) can() bool { return !a.split && (!a.sealed || a.opener != nil) }

// append adds an alert record as the direction's next one; not ok where that cannot be done.
func (a alertState) append(dst []byte, v handshake.Version, alert handshake.Alert) ([]byte, bool) {
	switch {
	case !a.can():
		return nil, false
	case !a.sealed:
		return alert.AppendRecord(dst, v), true
	}
	body := []byte{byte(alert.Level), byte(alert.Description)}
	dst, err := a.opener.Sealer().Seal(dst, handshake.ContentAlert, body)
	return dst, err == nil
}

// illegalParameter is what the box tells both peers (RFC 5246, Section 7.2.2).
var illegalParameter = handshake.Alert{
	Level: handshake.Fatal, Description: handshake.AlertIllegalParameter,
}

// alertBoth refuses the flow with an alert to each side, or with a reset where none can be placed.
func (s *Session) alertBoth(c Cause, a alertStates) {
	toClient, ok1 := a.toClient.append(nil, a.version, illegalParameter)
	toServer, ok2 := a.toServer.append(nil, a.version, illegalParameter)
	if !ok1 || !ok2 {
		s.refuse(&Refusal{Cause: c, Action: ActionReset})
		return
	}
	s.alertEvent(handshake.Server, illegalParameter, true)
	s.alertEvent(handshake.Client, illegalParameter, true)
	s.refuse(&Refusal{Cause: c, Action: ActionAlert, ToClient: toClient, ToServer: toServer})
}

// putOff is a refusal that waits until the client's record has ended that was half relayed when it
// was decided: an alert can only follow a whole record.
type putOff struct {
	cause  Cause
	states alertStates
	upTo   uint64 // the client's bytes before this offset may have been relayed
}

// putsOff puts an alert off if the client stands within a record. All that the server sends from then
// on is held.
func (s *Session) putsOff(c Cause, states alertStates) bool {
	client, server := &s.dir[handshake.Client], &s.dir[handshake.Server]
	if !s.cfg.Inline || s.cfg.Policy[c] != ActionAlert || client.mode != modeRecords || s.blocked() ||
		!states.toServer.split || !states.toClient.can() {
		return false
	}
	if _, ok := client.size(client.kept()); !ok {
		return false // it is no record, and has no end
	}
	s.later = &putOff{cause: c, states: states, upTo: client.fed}
	if !s.flight.held {
		s.flight = flight{held: true, at: server.pos}
	}
	server.stop()
	client.mode = modeRest
	return true
}

// feedRest takes the rest of what may have been relayed, to the end of a record, and then refuses the
// flow.
func (s *Session) feedRest(d *direction, b []byte) []byte {
	for d.pos < s.later.upTo {
		rec, n, ok := d.cut(b)
		if !ok {
			s.refuseNow()
			return nil
		}
		if rec == nil {
			return nil
		}
		b = b[n:]
		d.pos += uint64(len(rec))
		d.follow(rec)
		d.drop()
	}
	s.later.states.toServer = s.stateOf(d)
	s.later.states.toServer.split = false // what follows in b is not relayed
	s.refuseNow()
	return nil
}

// follow keeps the direction's protection in step with a record whose content does not matter.
func (d *direction) follow(rec []byte) {
	if d.opener != nil {
		buf := scratch.Get().(*[]byte)
		_, _, _ = d.opener.Open((*buf)[:0], rec)
		scratch.Put(buf)
	}
	if handshake.ContentType(rec[0]) == handshake.ContentChangeCipherSpec {
		d.opener, d.next = d.next, nil
		d.seen.changed = true
	}
}

// refuseNow refuses the flow as was decided before.
func (s *Session) refuseNow() {
	l := s.later
	s.later = nil
	for i := range s.dir {
		s.dir[i].stop()
	}
	s.act(l.cause, l.states)
	s.neg = nil
}
