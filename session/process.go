// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record"
)

// process takes one whole record. It returns false, and has changed nothing, if the record must
// wait for a secret.
func (s *Session) process(d *direction, at uint64, rec []byte) bool {
	if d.v2 {
		s.v2Hello(d, rec)
		return true
	}
	typ, body := handshake.ContentType(rec[0]), rec[handshake.RecordHeaderLen:]
	if !s.ready(d, typ, rec) {
		return false
	}
	switch {
	case d.mode == modeOff || d.mode == modeRest:
	case s.tls13 != nil && typ == handshake.ContentChangeCipherSpec:
		// For middleboxes only (RFC 8446, Appendix D.4).
	case d.opener != nil && s.leftEarly(d, typ):
		s.content(d, typ, body)
	case d.opener != nil:
		s.protected(d, at, rec)
	case s.earlyData(d, typ):
	case s.lostChange(d, typ, rec):
	default:
		s.content(d, typ, body)
	}
	return true
}

// earlyData reports whether a record is early data of TLS 1.3, which comes before the ServerHello.
func (s *Session) earlyData(d *direction, typ handshake.ContentType) bool {
	n := s.neg
	return n != nil && n.server == nil && n.hello != nil && n.hello.EarlyData &&
		d.side == handshake.Client && typ == handshake.ContentApplicationData
}

// leftEarly reports whether the client leaves early data for what is not protected yet: a second
// ClientHello, or an alert.
func (s *Session) leftEarly(d *direction, typ handshake.ContentType) bool {
	return s.tls13 != nil && s.tls13.level[d.side] == levelEarly && typ != handshake.ContentApplicationData
}

// lostChange takes a protected record whose ChangeCipherSpec was in a hole.
func (s *Session) lostChange(d *direction, typ handshake.ContentType, rec []byte) bool {
	if d.missing == 0 || s.tls13 != nil || typ == handshake.ContentChangeCipherSpec {
		return false
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	typ, plaintext, ok := s.openNext(d, (*buf)[:0], rec, nil, 0)
	if ok {
		s.flow.Records[d.side]++
		s.content(d, typ, plaintext)
	}
	return ok || d.mode == modeOff
}

// protected opens a record and takes what was in it.
func (s *Session) protected(d *direction, at uint64, rec []byte) {
	if d.side == handshake.Server && s.flight.held && at >= s.flight.at && s.flight.before == nil {
		s.flight.before = d.opener.Clone()
	}
	if s.cfg.Room != nil && s.neg == nil {
		s.protectedInto(d, s.cfg.Room(len(rec)), rec, true)
		return
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	s.protectedInto(d, (*buf)[:0], rec, false)
}

// protectedInto is protected with room for the plaintext.
func (s *Session) protectedInto(d *direction, buf, rec []byte, lent bool) {
	typ, plaintext, err := s.open(d, buf, rec)
	if err != nil {
		typ, plaintext, err = s.openAnyway(d, buf, rec, err)
	}
	if err != nil {
		s.openFailed(d, err)
		return
	}
	s.flow.Records[d.side]++
	if lent && typ != handshake.ContentApplicationData {
		plaintext = bytes.Clone(plaintext) // other events may come before all of it is read
	}
	s.content(d, typ, plaintext)
}

// open opens the next record, whose number may be unknown after a hole.
func (s *Session) open(d *direction, buf, rec []byte) (handshake.ContentType, []byte, error) {
	if d.window == 0 {
		return d.opener.Open(buf, rec)
	}
	window := d.window
	d.window = 0
	return s.search(d, d.opener, buf, rec, window)
}

// openFailed ends the reading at a record that no key of ours opens.
func (s *Session) openFailed(d *direction, err error) {
	if errors.Is(err, errRecordLost) {
		return
	}
	if n := s.neg; n != nil {
		s.forget(n)
	}
	cause := DecryptFailed
	switch {
	case errors.Is(err, record.ErrStreamLost):
		s.fail(PacketLoss, streamLost)
		return
	case errors.Is(err, record.ErrMalformed), errors.Is(err, record.ErrRecordOverflow):
		cause = Malformed
	}
	s.fail(cause, fmt.Sprintf("a record of the %v: %v", d.side, err))
}

// content takes the plaintext of one record. b lives until the call returns.
func (s *Session) content(d *direction, typ handshake.ContentType, b []byte) {
	switch typ {
	case handshake.ContentHandshake:
		s.handshakeContent(d, b)
	case handshake.ContentApplicationData:
		s.applicationData(d, b)
	case handshake.ContentChangeCipherSpec:
		s.changeCipherSpec(d, b)
	case handshake.ContentAlert:
		s.alertContent(d, b)
	case handshake.ContentHeartbeat:
		// RFC 6520: keeps the connection alive, and says nothing.
	default:
		s.fail(Malformed, fmt.Sprintf("a record of the %v of type %d", d.side, typ))
	}
}

func (s *Session) handshakeContent(d *direction, b []byte) {
	if d.inside && !startsMessage(b) {
		return // the end of a message that was begun in a hole
	}
	d.inside = false
	d.messages.Push(b)
	for d.mode != modeOff && d.mode != modeRest {
		m, ok, err := d.messages.Next()
		if err != nil {
			s.fail(HandshakeTooLarge, fmt.Sprintf("a handshake message of the %v: %v", d.side, err))
			return
		}
		if !ok {
			return
		}
		s.message(d, m)
	}
}

func (s *Session) applicationData(d *direction, b []byte) {
	n := s.neg
	switch {
	case d.opener == nil:
		s.fail(Malformed, fmt.Sprintf("application data of the %v without protection", d.side))
		return
	case n == nil:
	case n.broken:
		s.completeBroken(n, d.side)
	case n.changed[d.side] && !n.finished[d.side]:
		s.fail(Malformed, fmt.Sprintf("application data of the %v before its Finished", d.side))
		return
	}
	s.protectedData(d, b)
}

// completeBroken ends a handshake whose Finished messages may be among what was lost: then it is the
// MAC that proves the keys.
func (s *Session) completeBroken(n *negotiation, side handshake.Side) {
	switch {
	case s.tls13 != nil:
		if s.tls13.level != [2]level{levelApplication, levelApplication} {
			return
		}
	case n.keys == nil || !n.changed[side]:
		return
	default:
		s.confirmed(n)
	}
	s.complete(n)
}

func (s *Session) alertContent(d *direction, b []byte) {
	a, err := handshake.ParseAlert(b)
	if err != nil {
		s.fail(Malformed, fmt.Sprintf("an alert of the %v: %v", d.side, err))
		return
	}
	s.alertEvent(d.side, a, false)
	// A server that will not renegotiate says so and goes on (RFC 5246, Section 7.2.2). Once it has
	// answered the ClientHello it does.
	if n := s.neg; d.side == handshake.Server && a.Description == handshake.AlertNoRenegotiation &&
		s.established && n != nil && n.server == nil {
		s.neg = nil
	}
}

// ready prepares the direction for its next record. It returns false while a secret is missing.
func (s *Session) ready(d *direction, typ handshake.ContentType, rec []byte) bool {
	n := s.neg
	switch {
	case d.opener == nil && s.earlyData(d, typ):
		s.readyEarly(n, d, rec)
		return true
	case s.tls13 != nil:
		return s.ready13(d, typ)
	case n == nil || typ != handshake.ContentChangeCipherSpec:
		return true
	case n.server == nil:
		return true // changeCipherSpec says what is wrong with it
	case d.side == handshake.Server && !n.full && !n.abbreviated && n.secret == nil && n.trials == nil:
		session, way := s.resumable(n)
		if session == nil && s.sessionMayCome(n) {
			s.waiting = n.late
			return false
		}
		s.resumeAs(n, session, way)
		if d.mode == modeOff || d.mode == modeRest {
			return true
		}
	}
	return n.keys != nil || s.derive(n)
}

// changeCipherSpec puts the negotiated keys in force (RFC 5246, Section 7.1).
func (s *Session) changeCipherSpec(d *direction, b []byte) {
	if len(b) != 1 || b[0] != 1 {
		s.fail(Malformed, fmt.Sprintf("a malformed ChangeCipherSpec of the %v", d.side))
		return
	}
	if n := s.neg; n != nil && n.hello != nil && n.server == nil && d.side == handshake.Client &&
		n.hello.MaxVersion() >= handshake.TLS13 {
		return // for middleboxes only, before early data (RFC 8446, Appendix D.4)
	}
	if d.next == nil || d.messages.Pending() > 0 {
		s.fail(Malformed, fmt.Sprintf("a ChangeCipherSpec of the %v out of place", d.side))
		return
	}
	d.opener, d.next = d.next, nil
	if n := s.neg; n != nil {
		n.changed[d.side] = true
	}
}

// v2Hello takes an SSLv2-compatible CLIENT-HELLO (RFC 5246, Appendix E.2).
func (s *Session) v2Hello(d *direction, rec []byte) {
	d.v2 = false
	hello, _, err := handshake.ParseV2ClientHello(append([]byte(nil), rec...))
	if err != nil {
		s.fail(Malformed, fmt.Sprintf("an SSLv2-compatible ClientHello: %v", err))
		return
	}
	s.startHandshake(hello)
}
