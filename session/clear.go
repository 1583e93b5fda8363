// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"

	"github.com/sightglass/sightglass/handshake"
)

// feedClear passes plaintext on and looks for the ClientHello that may come at any byte of what
// the client sends. Only what could be the beginning of one is kept back from the events.
func (s *Session) feedClear(d *direction, b []byte) []byte {
	if d.side == handshake.Server {
		return s.clearData(d, b)
	}
	buf := b
	if kept := d.kept(); len(kept) > 0 {
		d.keep(b)
		buf = d.kept()
	}
	at, match := findClientHello(buf, d.pos == 0)
	fromKept := d.partial != nil
	if fromKept {
		// What follows is fed again from a copy of its own: keep and drop reuse the buffer.
		buf = bytes.Clone(buf)
		d.drop()
	}
	if rest := s.clearData(d, buf[:at]); d.mode != modeClear {
		return buf[at-len(rest):]
	}
	switch {
	case match == handshake.Yes:
		s.startTLS(d, buf[at:])
		return buf[at:]
	}
	d.keep(buf[at:])
	return nil
}

// findClientHello returns where a ClientHello begins or may begin; len(b) and No if nowhere. An
// SSLv2-compatible one is only looked for at the head of the stream: it has too few fixed bytes.
func findClientHello(b []byte, head bool) (int, handshake.Match) {
	if head {
		if m := handshake.LooksLikeClientHello(b); m != handshake.No {
			return 0, m
		}
	}
	for at := 0; at < len(b); at++ {
		i := bytes.IndexByte(b[at:], byte(handshake.ContentHandshake))
		if i < 0 {
			break
		}
		at += i
		if m := handshake.LooksLikeClientHello(b[at:]); m != handshake.No {
			return at, m
		}
	}
	return len(b), handshake.No
}

// clearData emits plaintext and counts it: after the limit no TLS is expected any more, and what is
// left of b is returned.
func (s *Session) clearData(d *direction, b []byte) []byte {
	if d.pos == 0 && len(b) > 0 {
		_, err := handshake.ParseRecordHeader(b)
		d.looksProtected = err == nil
	}
	if len(b) == 0 {
		return nil
	}
	limit := s.prologueLimit()
	n := min(len(b), limit-s.prologue)
	d.pos += uint64(n)
	s.plainData(d.side, b[:n])
	if s.prologue += n; s.prologue == limit {
		s.notTLS("no ClientHello came")
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
	s.fail(NotTLS, detail)
	if !s.cfg.Inline {
		s.dir[0].mode, s.dir[1].mode = modePlain, modePlain
	}
}

// startTLS begins to cut records: the ClientHello is at the head of rest.
func (s *Session) startTLS(d *direction, rest []byte) {
	s.flow.TLS = true
	d.v2 = rest[0]&0x80 != 0
	for i := range s.dir {
		s.dir[i].mode = modeRecords
	}
	s.neg = newNegotiation()
}

// protectedLooks reports whether a side that never said ClientHello sent what could be TLS records.
func (s *Session) protectedLooks() bool {
	return s.dir[0].looksProtected || s.dir[1].looksProtected
}
