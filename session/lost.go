// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"errors"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record"
)

// Bounds on what one hole may cost.
const (
	// maxWindow is how many records may be lost in one hole.
	maxWindow = 1 << 14
	// maxWork is how many bytes may be decrypted on trial to get over a hole.
	maxWork = 64 << 20
	// workPerByte is how many more each byte that came since the last hole is worth.
	workPerByte = 64
	// huntBytes is how much is read in search of a record before it is given up.
	huntBytes = 4 << 20
	// minRecord is the least a lost record takes: its header and a MAC or tag.
	minRecord = handshake.RecordHeaderLen + 8
)

// Gap says that the next n bytes of a side are missing. Only feeds that watch lose bytes.
func (s *Session) Gap(side handshake.Side, t time.Time, n int) {
	if s.ended || n <= 0 {
		return
	}
	s.now = t
	d := &s.dir[side]
	d.fed += uint64(n)
	switch d.mode {
	case modeClear, modePlain:
		s.flushClear(d)
		d.pos += uint64(n)
		d.started, d.amid = false, amid{}
		s.gapEvent(side, n)
	case modeRecords, modeHunt:
		if s.blocked() {
			s.fail(PacketLoss, "bytes were lost while a secret was awaited")
			return
		}
		s.lostInRecords(d, n)
	default:
		s.flow.Gaps[side] += uint64(n)
	}
}

// lostInRecords deals with a hole of n bytes in a direction that sends records.
func (s *Session) lostInRecords(d *direction, n int) {
	if s.neg != nil {
		s.neg.broken = true
	}
	d.messages.Reset()
	d.inside = true
	s.allow(d)
	d.missing += uint64(n)
	d.lost += uint64(n)
	d.tail = nil
	if d.mode == modeHunt {
		d.lost += uint64(len(d.kept()))
		d.drop()
		d.need = 0
		return
	}
	if rest := d.restOfRecord(); rest >= n {
		// The hole is within one record: the next boundary is known.
		d.damaged(rest - n)
		s.shownGap(d)
		return
	}
	d.lost += uint64(len(d.kept()))
	d.drop()
	d.skip, d.need, d.hunted = 0, 0, 0
	d.mode = modeHunt
}

// allow gives a direction the work that a hole may cost: so much for the first, and for the next ones
// in proportion to what came since.
func (s *Session) allow(d *direction) {
	came := s.flow.Bytes[d.side]
	if d.missing == 0 {
		d.work = maxWork
	} else {
		d.work = min(maxWork, d.work+workPerByte*int64(came-d.allowed))
	}
	d.allowed = came
}

// restOfRecord returns how many bytes of the record at hand are still to come.
func (d *direction) restOfRecord() int {
	if d.skip > 0 {
		return d.skip
	}
	if size, ok := d.size(d.kept()); ok && size > 0 {
		return size - len(d.kept())
	}
	return 0
}

// damaged gives up the record at hand, of which rest bytes still come.
func (d *direction) damaged(rest int) {
	if kept := d.kept(); len(kept) > 0 {
		size, _ := d.size(kept)
		if d.opener != nil {
			d.opener.Lose(size - handshake.RecordHeaderLen)
			d.opener.SetSequence(d.opener.Sequence() + 1)
		}
		d.drop()
	}
	d.skip, d.tail = rest, nil
}

// tailLen is how many bytes before a record CBC up to TLS 1.0 may need for its IV: a block and, with
// encrypt-then-MAC, the MAC behind it.
const tailLen = 16 + 48

// tailOf returns the last bytes of a and then b.
func tailOf(a, b []byte) []byte {
	b = b[max(0, len(b)-tailLen):]
	a = a[max(0, len(a)+len(b)-tailLen):]
	return append(a[:len(a):len(a)], b...)
}

// skipDamaged drops bytes of a damaged record. Its last ones are the next one's IV before TLS 1.1.
func (d *direction) skipDamaged(b []byte) []byte {
	n := min(d.skip, len(b))
	d.skip -= n
	d.tail = tailOf(d.tail, b[:n])
	if d.skip == 0 {
		if d.opener != nil {
			d.opener.Preceded(d.tail)
		}
		d.tail = nil
	}
	return b[n:]
}

// shownGap marks what was lost in the output.
func (s *Session) shownGap(d *direction) {
	if d.lost > 0 {
		n := int(min(d.lost, 1<<30))
		d.lost = 0
		s.gapEvent(d.side, n)
	}
}

// feedHunt looks for the next record after a hole: bytes that look like one and that open.
func (s *Session) feedHunt(d *direction, b []byte) []byte {
	buf := b
	if d.partial != nil {
		d.keep(b)
		if len(d.kept()) < d.need {
			return nil
		}
		buf = bytes.Clone(d.kept()) // accepts may use the buffer
		d.drop()
	}
	return s.hunt(d, buf, false)
}

// hunt searches buf and returns what is left of it when a record is found. What may begin a record that
// is not whole is kept, unless these are the last bytes.
func (s *Session) hunt(d *direction, buf []byte, last bool) []byte {
	if !s.works(d, len(buf)) {
		return nil
	}
	at := 0
	for {
		i, size := s.nextHeader(d, buf[at:])
		at += i
		if d.need = size; len(buf)-at < size {
			if !last || at == len(buf) {
				break
			}
			at++ // it was none, or is not all there
			continue
		}
		if s.accepts(d, buf, at, size) {
			return buf[at+size:]
		}
		if d.mode != modeHunt {
			return nil
		}
		at++
	}
	d.hunted += at
	d.lost += uint64(at)
	d.missing += uint64(at)
	d.tail = tailOf(d.tail, buf[:at])
	d.keep(buf[at:])
	if d.hunted > huntBytes {
		s.shownGap(d)
		s.fail(PacketLoss, "no record was found after lost bytes")
	}
	return nil
}

// works takes n bytes' work from what the direction is allowed. Without it the reading ends.
func (s *Session) works(d *direction, n int) bool {
	if d.work -= int64(n); d.work >= 0 {
		return true
	}
	s.shownGap(d)
	s.fail(PacketLoss, "the records after lost bytes could not be told apart")
	return false
}

// nextHeader returns the offset of the first bytes that look like a record header, and the record's
// size; a header's if that is not complete.
func (s *Session) nextHeader(d *direction, b []byte) (at, size int) {
	version := uint16(s.recordVersion())
	for ; at < len(b); at++ {
		head := b[at:]
		if head[0] < byte(handshake.ContentChangeCipherSpec) || head[0] > byte(handshake.ContentHeartbeat) {
			continue
		}
		if len(head) < handshake.RecordHeaderLen {
			return at, handshake.RecordHeaderLen
		}
		if uint16(head[1])<<8|uint16(head[2]) != version && s.flow.Version != 0 {
			continue
		}
		if n, ok := d.size(head); ok {
			return at, n
		}
	}
	return at, handshake.RecordHeaderLen
}

// accepts takes the record at buf[at:], the first one after a hole, if it is one.
func (s *Session) accepts(d *direction, buf []byte, at, size int) bool {
	rec := buf[at : at+size]
	if s.tls13 != nil && !s.ready13(d, handshake.ContentType(rec[0])) {
		s.fail(PacketLoss, "bytes were lost while a secret was awaited")
	}
	if d.mode != modeHunt {
		return false
	}
	before := tailOf(d.tail, buf[:at])
	room := scratch.Get().(*[]byte)
	defer scratch.Put(room)
	var typ handshake.ContentType
	var plaintext []byte
	err := error(record.ErrMAC)
	if d.opener != nil {
		typ, plaintext, err = s.openBeyond(d, (*room)[:0], rec, before, at)
	}
	if err != nil && d.mode == modeHunt && !errors.Is(err, record.ErrStreamLost) {
		if t, p, ok := s.openNext(d, (*room)[:0], rec, before, at); ok {
			typ, plaintext, err = t, p, nil
		}
	}
	switch {
	case d.mode != modeHunt:
		return false
	case err == nil:
		s.found(d, at)
		s.flow.Records[d.side]++
		s.content(d, typ, plaintext)
		return true
	case errors.Is(err, record.ErrStreamLost):
		d.lost += uint64(at)
		s.shownGap(d)
		s.fail(PacketLoss, streamLost)
		return false
	case errors.Is(err, record.ErrIVLost) && looksLikeHeader(buf[at+size:], rec):
		// Before TLS 1.1 the record after a hole is lost with it: its IV was the last record's end.
		d.window = d.widest(at)
		d.opener.LoseRecords(int(min(d.lost, 1<<30)))
		d.opener.Preceded(rec)
		s.found(d, at+size)
		return true
	}
	return d.opener == nil && s.acceptsPlain(d, rec, at)
}

const streamLost = "what was lost cannot be skipped under this cipher and compression"

// found ends the search: the next record begins n bytes behind what is counted as lost.
func (s *Session) found(d *direction, n int) {
	d.lost += uint64(n)
	d.mode, d.tail = modeRecords, nil
	s.shownGap(d)
}

// widest is how many records may have been lost before the one at an offset of what is searched.
func (d *direction) widest(at int) int {
	return int(min((d.missing+uint64(at))/minRecord+2, maxWindow))
}

// What setting up the protection for trials takes, and each of them beyond its bytes: in bytes that
// are decrypted in the same time.
const (
	setupCost = 4096
	trialCost = 256
)

// openBeyond opens a record under the protection in force, of which records may have been lost. The
// direction's state changes only if it does.
func (s *Session) openBeyond(d *direction, room, rec, before []byte, at int) (handshake.ContentType, []byte, error) {
	lost := int(min(d.lost+uint64(at), 1<<30))
	if !s.works(d, lost) { // a stream cipher's keystream is made for what was lost
		return 0, nil, record.ErrMAC
	}
	opener := d.opener.Clone()
	opener.LoseRecords(lost)
	opener.Preceded(before)
	typ, plaintext, err := s.search(d, opener, room, rec, d.widest(at))
	if err == nil {
		d.opener = opener
	}
	return typ, plaintext, err
}

// openNext opens a record under keys that came into force in a hole.
func (s *Session) openNext(d *direction, room, rec, before []byte, at int) (handshake.ContentType, []byte, bool) {
	if d.missing == 0 {
		return 0, nil, false
	}
	for _, n := range s.nextKeys(d) {
		// The first record under them, or a later one, which takes another IV before TLS 1.1, and with
		// RC4 another place in the keystream: behind the Finished, most likely.
		for _, first := range []bool{true, false} {
			opener := n.opener.Clone()
			if !first {
				opener.Lose(s.finishedSize)
				opener.Preceded(before)
			}
			typ, plaintext, err := s.search(d, opener, room, rec, d.widest(at))
			if err == nil {
				n.take()
				d.opener = opener
				return typ, plaintext, true
			}
			if d.mode == modeOff {
				return 0, nil, false
			}
		}
	}
	return 0, nil, false
}

// search opens a record whose number is not known, and takes the work that it was.
func (s *Session) search(d *direction, o *record.Opener, room, rec []byte, window int) (handshake.ContentType, []byte, error) {
	typ, plaintext, skipped, err := o.Resync(room, rec, window)
	if errors.Is(err, record.ErrMAC) {
		skipped = uint64(window)
	}
	if !s.works(d, setupCost+(len(rec)+trialCost)*int(min(skipped+1, maxWindow))) {
		return 0, nil, record.ErrMAC
	}
	return typ, plaintext, err
}

// keysAhead are those that a direction may change to next.
type keysAhead struct {
	opener *record.Opener
	take   func() // notes that it did
}

func (s *Session) nextKeys(d *direction) []keysAhead {
	if s.tls13 != nil {
		return s.nextKeys13(d)
	}
	n := s.neg
	if n == nil || !n.broken || n.server == nil || n.changed[d.side] {
		if d.next == nil {
			return nil
		}
		return []keysAhead{{d.next, func() { d.next = nil }}}
	}
	if n.keys == nil && !s.deriveBroken(n) {
		return nil
	}
	changed := func() { d.next, n.changed[d.side] = nil, true }
	var all []keysAhead
	for _, t := range n.keys.trials {
		all = append(all, keysAhead{t.openers[d.side], func() { s.pick(n, t); changed() }})
	}
	if all == nil && d.next != nil {
		all = []keysAhead{{d.next, changed}}
	}
	return all
}

// deriveBroken derives the keys of a handshake of which messages were lost, where that can be done at
// once.
func (s *Session) deriveBroken(n *negotiation) bool {
	if n.secret == nil && n.trials == nil && !n.full && !n.abbreviated {
		if session, way := s.resumable(n); session != nil {
			s.resumeAs(n, session, way)
		}
	}
	if n.secret != nil && !n.secret.Ready() {
		return false
	}
	if _, logged := s.loggedMaster(n); n.secret == nil && n.trials == nil && !logged {
		return false
	}
	return s.derive(n) && s.neg == n && n.keys != nil
}

// looksLikeHeader reports whether b goes on with a record of rec's version, or ends there.
func looksLikeHeader(b, rec []byte) bool {
	if len(b) < handshake.RecordHeaderLen {
		return len(b) == 0
	}
	_, err := handshake.ParseRecordHeader(b)
	return err == nil && bytes.Equal(b[1:3], rec[1:3])
}

// startsMessage reports whether a handshake fragment looks like the beginning of a message.
func startsMessage(b []byte) bool {
	if len(b) < handshake.MessageHeaderLen {
		return false
	}
	t := handshake.MessageType(b[0])
	known := t <= handshake.TypeNewSessionTicket && t != 3 || t == handshake.TypeFinished ||
		t >= handshake.TypeCertificate && t <= handshake.TypeClientKeyExchange ||
		t >= handshake.TypeCertificateURL && t <= handshake.TypeCompressedCertificate ||
		t == handshake.TypeEndOfEarlyData || t == handshake.TypeEncryptedExtensions || t == handshake.TypeNextProtocol
	size := handshake.MessageHeaderLen + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
	// What does not end in its record goes on from a full one.
	return known && (size <= len(b) || len(b) > handshake.MaxPlaintext/2)
}

// acceptsPlain takes a record after a hole before anything is protected.
func (s *Session) acceptsPlain(d *direction, rec []byte, at int) bool {
	body := rec[handshake.RecordHeaderLen:]
	switch handshake.ContentType(rec[0]) {
	case handshake.ContentChangeCipherSpec:
		if len(body) != 1 || body[0] != 1 {
			return false
		}
	case handshake.ContentHandshake:
		if !startsMessage(body) {
			return false
		}
	case handshake.ContentAlert:
		if len(body) != 2 {
			return false
		}
	default:
		return false
	}
	s.found(d, at)
	s.frame(d, rec)
	return true
}

// endHunt ends the search because the direction ends. What looked like the beginning of a long record
// may have been none, and whole ones stand behind it.
func (s *Session) endHunt(d *direction) {
	buf := bytes.Clone(d.kept())
	d.drop()
	if rest := s.hunt(d, buf, true); d.mode == modeRecords {
		s.feedRecords(d, rest)
	}
	if d.mode == modeHunt {
		s.shownGap(d)
		d.mode = modeOff
	}
}

// resync is called when a record did not open. After a hole there may be a reason.
func (s *Session) resync(d *direction, buf, rec []byte, err error) (handshake.ContentType, []byte, error) {
	if errors.Is(err, record.ErrIVLost) {
		d.lost += uint64(len(rec))
		s.shownGap(d)
		return 0, nil, errRecordLost
	}
	if typ, plaintext, ok := s.openNext(d, buf, rec, nil, 0); ok {
		return typ, plaintext, nil
	}
	return 0, nil, err
}

// errRecordLost says that a record cannot be opened for a hole before it, and that the next can.
var errRecordLost = errors.New("lost with the bytes before it")
