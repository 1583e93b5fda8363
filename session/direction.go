// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"sync"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record"
)

// mode says how the bytes of a direction are understood.
type mode uint8

const (
	modeClear   mode = iota // plaintext in which a ClientHello may come
	modePlain               // plaintext to the end: no TLS comes any more
	modeRecords             // TLS records
	modeHunt                // TLS records, after a hole: the next boundary is sought
	modeRest                // the rest of one record, before an alert can follow it
	modeOff                 // not read any more
)

// direction is one of the two byte streams. Offsets count from its first byte.
type direction struct {
	side handshake.Side
	mode mode
	v2   bool // the next record is an SSLv2-compatible CLIENT-HELLO

	fed     uint64 // bytes fed so far
	pos     uint64 // offset of the first byte of partial, or else of the next record
	partial *[]byte

	messages handshake.Messages
	opener   *record.Opener // nil: not protected yet
	next     *record.Opener // from the next ChangeCipherSpec on

	seen    seen // counted as records are cut, before they are opened, which may have to wait
	passing bool // the beginning of the record at hand was not held

	// After a hole.
	lost    uint64 // bytes lost since the last gap was shown
	missing uint64 // bytes lost since the beginning of the records
	inside  bool   // the next handshake fragment may begin inside a message
	skip    int    // bytes of a damaged record still to come
	tail    []byte // the last of them so far
	need    int    // bytes that the search waits for
	hunted  int    // bytes searched
	window  int    // how many records may have been lost before the next one; 0: none
	work    int64  // bytes that may still be decrypted on trial
	allowed uint64 // bytes that had come when work was last added

	amid    amid
	started bool // enough came to tell whether the stream begins with a record
}

// recordBuffers lends room for one record that came in pieces, so that an idle flow holds none.
var recordBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, handshake.RecordHeaderLen+handshake.MaxCiphertext)
	return &b
}}

// scratch lends room for the plaintext of one record.
var scratch = sync.Pool{New: func() any {
	b := make([]byte, 0, handshake.MaxCiphertext)
	return &b
}}

// keep adds b to what is kept until more comes.
func (d *direction) keep(b []byte) {
	if len(b) == 0 {
		return
	}
	if d.partial == nil {
		d.partial = recordBuffers.Get().(*[]byte)
	}
	*d.partial = append(*d.partial, b...)
}

// kept returns what keep has gathered; it is valid until the next keep or drop.
func (d *direction) kept() []byte {
	if d.partial == nil {
		return nil
	}
	return *d.partial
}

// drop forgets what was kept.
func (d *direction) drop() {
	if d.partial == nil {
		return
	}
	if b := d.partial; cap(*b) <= 2*handshake.MaxCiphertext {
		*b = (*b)[:0]
		recordBuffers.Put(b)
	}
	d.partial = nil
}

// stop ends the reading of this direction; its offsets stay.
func (d *direction) stop() {
	d.drop()
	d.messages.Reset()
	d.mode = modeOff
	d.opener, d.next = nil, nil
}

// inRecord reports whether the direction stands within a record, its first bytes fed.
func (d *direction) inRecord() bool { return d.fed > d.pos }

// feedRecords cuts records out of b and returns what is left when the mode changes.
func (s *Session) feedRecords(d *direction, b []byte) []byte {
	b = s.records(d, b)
	d.lookAhead(nil) // b is the caller's again
	return b
}

func (s *Session) records(d *direction, b []byte) []byte {
	for d.mode == modeRecords {
		if d.skip > 0 {
			if b = d.skipDamaged(b); len(b) == 0 {
				return nil
			}
		}
		whole, n, ok := d.cut(b)
		if !ok {
			s.badHeader(d)
			return nil
		}
		if whole == nil {
			return nil
		}
		b = b[n:]
		d.lookAhead(b)
		s.frame(d, whole)
	}
	return b
}

// lookAhead says what comes after the record that is opened next. An opener that is no longer in force may keep it: it
// opens nothing any more.
func (d *direction) lookAhead(b []byte) {
	if d.opener != nil {
		d.opener.Follow(b)
	}
}

// cut returns the next whole record, out of b alone or with what was kept before, and how many
// bytes of b it took. Without a whole record it keeps b. It is not ok if this is no record.
func (d *direction) cut(b []byte) (whole []byte, n int, ok bool) {
	if d.partial == nil {
		size, ok := d.size(b)
		if !ok || size == 0 || len(b) < size {
			d.keep(b)
			return nil, len(b), ok
		}
		return b[:size], size, true
	}
	for {
		have := d.kept()
		size, ok := d.size(have)
		if !ok {
			return nil, n, false
		}
		need := size - len(have)
		if size == 0 {
			need = handshake.RecordHeaderLen - len(have)
		} else if need == 0 {
			return have, n, true
		}
		take := min(need, len(b))
		d.keep(b[:take])
		b, n = b[take:], n+take
		switch {
		case take < need:
			return nil, n, true
		case size > 0:
			return d.kept(), n, true
		}
	}
}

// size returns the size of the record at the head of b, its header included, or 0 if b is too
// short to tell.
func (d *direction) size(b []byte) (size int, ok bool) {
	if len(b) < handshake.RecordHeaderLen {
		return 0, true
	}
	if d.v2 {
		// RFC 5246, Appendix E.2: a two-byte length with the high bit set.
		return 2 + (int(b[0]&0x7f)<<8 | int(b[1])), true
	}
	h, err := handshake.ParseRecordHeader(b)
	if err != nil {
		return 0, false
	}
	return handshake.RecordHeaderLen + h.Length, true
}

// frame takes one whole record. It is opened at once, or queued while a secret is awaited.
func (s *Session) frame(d *direction, rec []byte) {
	at := d.pos
	d.pos += uint64(len(rec))
	if !d.v2 {
		s.gate(d, at, rec)
	}
	if s.flight.held && d.pos-s.flight.at > s.heldLimit() && d.side == handshake.Server {
		s.fail(HandshakeTooLarge, fmt.Sprintf("more than %d bytes of the server's would be held", s.heldLimit()))
		return
	}
	if s.blocked() || !s.process(d, at, rec) {
		s.promiseTicket(d, rec)
		s.enqueue(queued{kind: queuedRecord, side: d.side, time: s.now, at: at, record: rec})
	}
	d.drop()
	s.settle()
}

// heldLimit bounds what is held: the handshake, and as much again for its records' headers and what
// comes between them.
func (s *Session) heldLimit() uint64 { return 2 * uint64(s.cfg.maxHandshake()) }

// badHeader deals with bytes that can be no record.
func (s *Session) badHeader(d *direction) {
	first := d.side == handshake.Server && s.neg != nil && s.neg.server == nil && !s.established
	switch {
	case first && s.neg.hello != nil && s.neg.hello.V2:
		s.fail(VersionUnsupported, "the server answered in SSL 2.0")
	case first:
		s.fail(NotTLS, "the server did not answer the ClientHello with TLS")
	default:
		s.fail(Malformed, "the "+d.side.String()+" sent bytes that are no TLS record")
	}
}
