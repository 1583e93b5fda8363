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
	// huntWork is how many bytes are decrypted on trial to get over one hole.
	huntWork = 256 << 20
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
		d.messages.Reset()
	}
	d.lost += uint64(n)
	if d.mode == modeHunt {
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
	d.skip = 0
	d.mode = modeHunt
	d.work, d.hunted = huntWork, 0
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

// tailLen is how many bytes before a record CBC up to TLS 1.0 may take as its IV.
const tailLen = 16

// skipDamaged drops bytes of a damaged record. Its last ones are the next one's IV before TLS 1.1.
func (d *direction) skipDamaged(b []byte) []byte {
	n := min(d.skip, len(b))
	d.skip -= n
	d.tail = append(d.tail, b[max(0, n-tailLen):n]...)
	d.tail = d.tail[max(0, len(d.tail)-tailLen):]
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
	buf := append(bytes.Clone(d.kept()), b...)
	d.drop()
	at := 0
	for {
		i, size := s.nextHeader(d, buf[at:])
		at += i
		if size == 0 || len(buf)-at < size {
			break
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
	d.keep(buf[at:])
	if d.hunted > huntBytes {
		s.shownGap(d)
		s.fail(PacketLoss, "no record was found after lost bytes")
	}
	return nil
}

// nextHeader returns the offset of the first bytes that look like a record header, and the record's
// size; 0 if the header is not complete.
func (s *Session) nextHeader(d *direction, b []byte) (at, size int) {
	version := uint16(s.recordVersion())
	for ; at < len(b); at++ {
		head := b[at:]
		if head[0] < byte(handshake.ContentChangeCipherSpec) || head[0] > byte(handshake.ContentHeartbeat) {
			continue
		}
		if len(head) < handshake.RecordHeaderLen {
			return at, 0
		}
		if uint16(head[1])<<8|uint16(head[2]) != version && s.flow.Version != 0 {
			continue
		}
		if n, ok := d.size(head); ok {
			return at, n
		}
	}
	return at, 0
}

// accepts takes the record at buf[at:], the first one after a hole, if it is one.
func (s *Session) accepts(d *direction, buf []byte, at, size int) bool {
	rec := buf[at : at+size]
	if d.opener == nil {
		return s.acceptsPlain(d, rec, at)
	}
	lost := d.lost + uint64(at)
	window := int(min(lost/minRecord+2, maxWindow))
	if d.work -= int64(window) * int64(size); d.work < 0 {
		s.shownGap(d)
		s.fail(PacketLoss, "the records after lost bytes could not be told apart")
		return false
	}
	opener := d.opener.Clone()
	opener.LoseRecords(int(min(lost, 1<<30)))
	opener.Preceded(buf[:at])
	room := scratch.Get().(*[]byte)
	defer scratch.Put(room)
	typ, plaintext, _, err := opener.Resync((*room)[:0], rec, window)
	switch {
	case err == nil:
		d.opener, d.lost = opener, lost
		d.mode = modeRecords
		s.shownGap(d)
		s.flow.Records[d.side]++
		s.content(d, typ, plaintext)
		return true
	case errors.Is(err, record.ErrStreamLost):
		d.lost = lost
		s.shownGap(d)
		s.fail(PacketLoss, "what was lost cannot be skipped under this cipher and compression")
		return false
	case errors.Is(err, record.ErrIVLost) && looksLikeHeader(buf[at+size:], rec):
		// Before TLS 1.1 the record after a hole is lost with it: its IV was the last record's end.
		d.opener, d.lost = opener, lost+uint64(size)
		d.mode, d.window = modeRecords, window
		s.shownGap(d)
		return true
	}
	return false
}

// looksLikeHeader reports whether b goes on with a record of rec's version, or ends there.
func looksLikeHeader(b, rec []byte) bool {
	if len(b) < handshake.RecordHeaderLen {
		return len(b) == 0
	}
	_, err := handshake.ParseRecordHeader(b)
	return err == nil && bytes.Equal(b[1:3], rec[1:3])
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
		if len(body) < 4 || body[1] != 0 && len(body) < handshake.MaxPlaintext {
			return false
		}
	case handshake.ContentAlert:
		if len(body) != 2 {
			return false
		}
	default:
		return false
	}
	d.lost += uint64(at)
	s.shownGap(d)
	d.mode = modeRecords
	s.frame(d, rec)
	return true
}

// endHunt gives up the search because the direction ends.
func (s *Session) endHunt(d *direction) {
	d.lost += uint64(len(d.kept()))
	d.drop()
	s.shownGap(d)
	d.mode = modeOff
}

// resync is called when a record did not open. Only a lost IV is no surprise.
func (s *Session) resync(d *direction, rec []byte, err error) (handshake.ContentType, []byte, error) {
	if errors.Is(err, record.ErrIVLost) {
		d.lost += uint64(len(rec))
		s.shownGap(d)
		return 0, nil, errRecordLost
	}
	return 0, nil, err
}

// errRecordLost says that a record cannot be opened for a hole before it, and that the next can.
var errRecordLost = errors.New("lost with the bytes before it")
