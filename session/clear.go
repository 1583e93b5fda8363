// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"

	"github.com/sightglass/sightglass/handshake"
)

// feedClear passes plaintext on and looks for the ClientHello that may come at any byte of what
// the client sends. Only what could be the beginning of one is kept back from the events.
func (s *Session) feedClear(d *direction, b []byte) []byte {
	if d.partial != nil {
		d.keep(b)
		// What follows is fed again from a copy of its own: keep and drop reuse the buffer.
		b = bytes.Clone(d.kept())
		d.drop()
	}
	if !d.started && !s.start(d, b) {
		return b
	}
	at, match := len(b), handshake.No
	if d.side == handshake.Client {
		at, match = findClientHello(b)
	}
	if !d.started && match != handshake.Yes {
		at = 0 // too few bytes to tell
	}
	if rest := s.clearData(d, b[:at]); d.mode != modeClear {
		return b[at-len(rest):]
	}
	if match == handshake.Yes {
		s.startTLS(d, b[at:])
		return b[at:]
	}
	d.keep(b[at:])
	return nil
}

// start looks at the first bytes of a stream, or the first after a hole: records before any
// ClientHello. It returns false if the mode has changed because of them.
func (s *Session) start(d *direction, b []byte) bool {
	if d.side == handshake.Client && handshake.LooksLikeClientHello(b) != handshake.No {
		return true
	}
	match := looksLikeRecord(b)
	if match == handshake.Maybe {
		return true
	}
	d.started = true
	switch {
	case match == handshake.No:
		return true
	case s.withoutHello():
	case d.side == handshake.Server:
		d.mode = modeRecords
	default:
		return true
	}
	return false
}

// looksLikeRecord says whether b begins with the header of a record.
func looksLikeRecord(b []byte) handshake.Match {
	_, err := handshake.ParseRecordHeader(b)
	switch {
	case err == nil:
		return handshake.Yes
	case len(b) >= handshake.RecordHeaderLen,
		len(b) > 0 && (b[0] < byte(handshake.ContentChangeCipherSpec) || b[0] > byte(handshake.ContentHeartbeat)),
		len(b) > 1 && b[1] != 3:
		return handshake.No
	}
	return handshake.Maybe
}

// findClientHello returns where a ClientHello begins or may begin; len(b) and No if nowhere.
func findClientHello(b []byte) (int, handshake.Match) {
	for at, c := range b {
		if c != byte(handshake.ContentHandshake) && c&0x80 == 0 {
			continue
		}
		if m := handshake.LooksLikeClientHello(b[at:]); m != handshake.No {
			return at, m
		}
	}
	return len(b), handshake.No
}

// clearData emits plaintext and counts it: after the limit no TLS is expected any more, and what is
// left of b is returned.
func (s *Session) clearData(d *direction, b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	limit := s.prologueLimit()
	n, records := min(len(b), limit-s.prologue), false
	if !s.cfg.Inline && (s.flow.NoSYN || s.missing()) {
		n, records = d.amid.find(b[:n])
	}
	d.pos += uint64(n)
	s.plainData(d.side, b[:n])
	if s.prologue += n; s.prologue == limit {
		s.notTLS("no ClientHello came")
	} else if records {
		s.withoutHello()
	}
	return b[n:]
}

// prologueLimit is how much plaintext may come before TLS. None, if plaintext is not to be forwarded
// and no limit was set.
func (s *Session) prologueLimit() int {
	if s.cfg.Inline && s.cfg.PrologueLimit == 0 && s.cfg.Policy[NotTLS] != ActionForward {
		return 0
	}
	return orDefault(s.cfg.PrologueLimit, DefaultPrologueLimit)
}

// flushClear gives up on the beginning of a ClientHello that never went on.
func (s *Session) flushClear(d *direction) {
	if d.partial == nil {
		return
	}
	rest := bytes.Clone(d.kept())
	d.drop()
	if rest = s.clearData(d, rest); d.mode == modePlain {
		s.plainData(d.side, rest)
	}
}

// notTLS settles that no TLS is in this flow. A watching engine goes on to show its plaintext.
func (s *Session) notTLS(detail string) {
	kept := [2][]byte{bytes.Clone(s.dir[0].kept()), bytes.Clone(s.dir[1].kept())}
	s.fail(NotTLS, detail)
	if s.cfg.Inline {
		return
	}
	for i := range s.dir {
		s.dir[i].mode = modePlain
		s.plainData(s.dir[i].side, kept[i])
	}
}

// startTLS begins to cut records: the ClientHello is at the head of rest.
func (s *Session) startTLS(d *direction, rest []byte) {
	s.flow.TLS = true
	d.v2 = rest[0]&0x80 != 0
	for i := range s.dir {
		s.dir[i].mode = modeRecords
	}
	s.neg = s.newNegotiation()
}
