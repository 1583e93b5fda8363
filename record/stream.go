// SPDX-License-Identifier: Apache-2.0

package record

import (
	"crypto/rc4"
	"crypto/subtle"

	"github.com/sightglass/sightglass/handshake"
)

// maxSkip bounds how much keystream is made to be thrown away, in bytes: a tenth of a second's work.
const maxSkip = 1 << 26

// maxLostRecords bounds how many places in the keystream are tried for one record.
const maxLostRecords = 1 << 16

// stream is what opening and sealing have in common: RC4, or nothing, and a MAC.
type stream struct {
	mac  *recordMAC
	rc4  *rc4.Cipher // nil: NULL
	lost bool        // the place in the keystream is not known
}

func newStream(p Params, k Keys) (s stream, err error) {
	s.rc4, err = newRC4(p.Suite.Cipher, k.Key)
	s.mac = newRecordMAC(p.Version, p.Suite.MAC, k.MAC)
	return s, err
}

type streamOpening struct {
	stream
	// gap is how many bytes of whole records were lost before the next one, their number not being
	// known: the keystream stands where the first of them began.
	gap int
}

func newStreamOpening(p Params, k Keys) (*streamOpening, error) {
	s, err := newStream(p, k)
	return &streamOpening{stream: s}, err
}

func (s *streamOpening) open(buf, rec, b []byte, q search) ([]byte, uint64, error) {
	if len(b) < s.mac.size {
		return nil, 0, ErrMalformed
	}
	switch {
	case s.rc4 == nil:
		return s.verify(rec, b, q)
	case s.lost:
		return nil, 0, ErrStreamLost
	case s.gap > 0 && q.resync:
		return s.openBeyondGap(buf, rec, b, q)
	case s.gap > 0:
		return nil, 0, ErrStreamLost
	}
	before := *s.rc4
	buf = room(buf, len(b))
	s.rc4.XORKeyStream(buf, b)
	fragment, seq, err := s.verify(rec, buf, q)
	if err != nil {
		*s.rc4 = before
	}
	return fragment, seq, err
}

// verify checks the MAC at the end of b, which is decrypted.
func (s *streamOpening) verify(rec, b []byte, q search) ([]byte, uint64, error) {
	n := len(b) - s.mac.size
	seq, ok := s.mac.find(q.from, q.window, rec, b[:n], b[n:])
	if !ok {
		return nil, 0, ErrMAC
	}
	return b[:n], seq, nil
}

// openBeyondGap tries how many records were lost. Each has a header, which takes no keystream: one
// record more, and the keystream's place is a header's length earlier.
func (s *streamOpening) openBeyondGap(buf, rec, b []byte, q search) ([]byte, uint64, error) {
	const head = handshake.RecordHeaderLen
	most := min(s.gap/(head+s.mac.size), int(min(q.window-1, maxLostRecords)))
	if most == 0 {
		return nil, 0, ErrMAC
	}
	state := *s.rc4
	skip(&state, s.gap-head*most)
	keystream := make([]byte, head*(most-1)+len(b))
	state.XORKeyStream(keystream, keystream)
	buf = room(buf, len(b))
	for n := 1; n <= most; n++ {
		subtle.XORBytes(buf, b, keystream[head*(most-n):])
		fragment, seq, err := s.verify(rec, buf, search{from: q.from + uint64(n), window: 1})
		if err == nil {
			skip(s.rc4, s.gap-head*n+len(b))
			s.gap = 0
			return fragment, seq, nil
		}
	}
	return nil, 0, ErrMAC
}

func (s *streamOpening) lose(n int) {
	if s.rc4 == nil {
		return
	}
	if n < 0 || n > maxSkip {
		s.lost = true
		return
	}
	skip(s.rc4, n)
}

func (s *streamOpening) loseRecords(n int) {
	if s.rc4 == nil {
		return
	}
	s.lost = s.lost || n > maxSkip || s.gap+n > maxSkip
	s.gap += n
}

func skip(c *rc4.Cipher, n int) {
	var scratch [512]byte
	for n > 0 {
		b := scratch[:min(n, len(scratch))]
		c.XORKeyStream(b, b)
		n -= len(b)
	}
}

func (s *streamOpening) resume(o opening) {
	from := o.(*streamOpening)
	s.stream.resume(from)
	s.gap = from.gap
}

func (s *stream) resume(from *streamOpening) {
	s.lost = from.lost
	if s.rc4 != nil {
		*s.rc4 = *from.rc4
	}
}

type streamSealing struct{ stream }

func newStreamSealing(p Params, k Keys) (*streamSealing, error) {
	s, err := newStream(p, k)
	return &streamSealing{s}, err
}

func (s *streamSealing) seal(dst []byte, head recordHead, seq uint64, fragment []byte) ([]byte, error) {
	if s.lost {
		return nil, ErrStreamLost
	}
	start := len(dst)
	dst = head.append(dst, len(fragment)+s.mac.size)
	rec := dst[start:]
	dst = append(dst, fragment...)
	dst = append(dst, s.mac.compute(seq, rec, fragment)...)
	if s.rc4 != nil {
		b := dst[start+handshake.RecordHeaderLen:]
		s.rc4.XORKeyStream(b, b)
	}
	return dst, nil
}

func (s *streamSealing) resume(o opening) {
	from := o.(*streamOpening)
	s.stream.resume(from)
	s.lost = from.lost || from.gap > 0
}
