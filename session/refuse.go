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
	c, v := &s.dir[handshake.Client], &s.dir[handshake.Server]
	a := alertStates{
		version:  s.recordVersion(),
		toServer: alertState{opener: c.opener, sealed: c.sealed(), split: c.inRecord()},
		toClient: alertState{opener: v.opener, sealed: v.sealed(), split: v.inRecord()},
	}
	if s.flight.held {
		// The alert takes the place of what is held, which begins with a whole record.
		a.toClient = alertState{opener: s.flight.before, sealed: s.flight.sealed}
	} else if s.holdsPartial(v) {
		a.toClient.split = false
	}
	return a
}

// sealed reports whether the direction's next record is a protected one.
func (d *direction) sealed() bool { return d.opener != nil || d.changed }

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

// append adds an alert record as the direction's next one; not ok where that cannot be done.
func (a alertState) append(dst []byte, v handshake.Version, alert handshake.Alert) ([]byte, bool) {
	switch {
	case a.split:
		return nil, false
	case !a.sealed:
		return alert.AppendRecord(dst, v), true
	case a.opener == nil:
		return nil, false
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

// refusesLater puts an alert off until the client's record that is half relayed has ended: nothing
// could follow it before. The server's flight is held meanwhile.
func (s *Session) refusesLater(c Cause) bool {
	client, server := &s.dir[handshake.Client], &s.dir[handshake.Server]
	if !s.cfg.Inline || s.cfg.Policy[c] != ActionAlert || !client.inRecord() ||
		client.mode != modeRecords || s.blocked() {
		return false
	}
	if !s.flight.held {
		s.flight = flight{held: true, at: server.pos, sealed: server.sealed(), before: server.opener}
	}
	s.flight.refused = c
	client.mode = modeRest
	server.mode = modeOff
	return true
}

// feedRest takes the rest of the client's record, and then refuses the flow.
func (s *Session) feedRest(d *direction, b []byte) []byte {
	rec, _, ok := d.cut(b)
	if rec == nil && ok {
		return nil
	}
	if rec != nil {
		d.pos += uint64(len(rec))
		if d.opener != nil {
			buf := scratch.Get().(*[]byte)
			// Only the state of the protection matters here: the alert is sealed as the next record.
			_, _, _ = d.opener.Open((*buf)[:0], rec)
			scratch.Put(buf)
		}
	}
	states := s.states()
	states.toServer.split = rec == nil
	c := s.flight.refused
	for i := range s.dir {
		s.dir[i].stop()
	}
	s.act(c, states)
	s.neg = nil
	return nil
}
