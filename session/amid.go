// SPDX-License-Identifier: Apache-2.0

package session

import "github.com/sightglass/sightglass/handshake"

// amid looks for records in a stream that was not captured from its beginning, and so may begin within
// one: a header, and another where the first one's record ends. By chance there is none such.
type amid struct {
	last    [handshake.RecordHeaderLen]byte
	seen    uint64 // bytes looked at
	next    uint64 // where the second header begins; 0: no first one yet
	version handshake.Version
}

// find returns how many bytes of b are looked at when the second header is complete; not ok if that
// does not come in b.
func (a *amid) find(b []byte) (int, bool) {
	for i, c := range b {
		copy(a.last[:], a.last[1:])
		a.last[len(a.last)-1] = c
		a.seen++
		if a.seen >= handshake.RecordHeaderLen && a.header() {
			return i + 1, true
		}
	}
	return len(b), false
}

// header looks at the last bytes, and reports whether they are a second header.
func (a *amid) header() bool {
	at := a.seen - handshake.RecordHeaderLen
	if at < a.next {
		return false
	}
	h, err := handshake.ParseRecordHeader(a.last[:])
	if err != nil || h.Version > handshake.TLS13 || h.Length == 0 {
		a.next = 0
		return false
	}
	if a.next > 0 && h.Version == a.version {
		return true
	}
	a.next, a.version = at+handshake.RecordHeaderLen+uint64(h.Length), h.Version
	return false
}

// withoutHello ends the reading of a flow that is amid its records when the capture begins, or after a
// hole. It returns false where no capture can have missed a ClientHello.
func (s *Session) withoutHello() bool {
	switch {
	case s.cfg.Inline:
		return false
	case s.missing():
		s.fail(PacketLoss, "the ClientHello was not captured")
	case s.flow.NoSYN:
		s.fail(Midstream, "the capture starts after the ClientHello")
	default:
		return false
	}
	return true
}
