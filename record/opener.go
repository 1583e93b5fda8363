// SPDX-License-Identifier: Apache-2.0

package record

import "github.com/sightglass/sightglass/handshake"

// Opener opens the records of one direction, in their order. It is small: buffers are the caller's.
// It is not safe for concurrent use.
type Opener struct {
	params  Params
	keys    Keys
	seq     uint64
	opening opening
	inflate *inflater // nil: no compression
}

// opening is the state of one kind of protection.
type opening interface {
	// open verifies and decrypts rec, of which b is the body, with the first fitting sequence number
	// of those that s gives, and returns that number. Its own state changes only if err is nil or
	// ErrIVLost.
	open(buf, rec, b []byte, s search) (fragment []byte, seq uint64, err error)
	// lose says that n bytes of record bodies were lost, or an unknown number of them (-1).
	lose(n int)
	// resume takes over the state of another opening of the same parameters and keys.
	resume(opening)
}

// search says which sequence numbers a record may have.
type search struct {
	from   uint64
	window uint64 // how many, from from on
	resync bool   // the numbers between were lost: an explicit nonce may tell more
}

// NewOpener returns an opener whose next record is the direction's first under these keys. The keys
// are copied. An error that wraps ErrUnsupported says that there are no such records.
func NewOpener(p Params, k Keys) (*Opener, error) {
	if err := check(p, k); err != nil {
		return nil, err
	}
	o := &Opener{params: p, keys: k.clone()}
	var err error
	switch p.Suite.Cipher.Params().Kind {
	case handshake.KindAEAD:
		o.opening, err = newAEADOpening(p, o.keys)
	case handshake.KindBlock:
		o.opening, err = newCBCOpening(p, o.keys)
	default:
		o.opening, err = newStreamOpening(p, o.keys)
	}
	if err != nil {
		return nil, err
	}
	if p.Compression == compressionDEFLATE {
		o.inflate = new(inflater)
	}
	return o, nil
}

func (k Keys) clone() Keys {
	b := make([]byte, 0, len(k.MAC)+len(k.Key)+len(k.IV))
	cut := func(s []byte) []byte {
		b = append(b, s...)
		return b[len(b)-len(s) : len(b) : len(b)]
	}
	return Keys{cut(k.MAC), cut(k.Key), cut(k.IV)}
}

// Open verifies and decrypts rec, one whole record with its header, which is not modified. The
// plaintext stands in buf, which must not overlap rec, if buf has the capacity (MaxCiphertext is
// enough for any record), else in a new slice; with the NULL cipher it may be part of rec. In TLS 1.3
// typ is the inner type.
//
// A record that is not authentic (ErrMAC) or has no sound form leaves the opener as it was. An
// authentic one counts, even if its plaintext is refused (ErrRecordOverflow, ErrMalformed).
func (o *Opener) Open(buf, rec []byte) (typ handshake.ContentType, plaintext []byte, err error) {
	typ, plaintext, _, err = o.open(buf, rec, search{from: o.seq, window: 1})
	return typ, plaintext, err
}

func (o *Opener) open(buf, rec []byte, s search) (handshake.ContentType, []byte, uint64, error) {
	b, err := body(o.params, rec)
	if err != nil {
		return 0, nil, 0, err
	}
	fragment, seq, err := o.opening.open(buf, rec, b, s)
	if err == ErrIVLost {
		o.seq++
	}
	if err != nil {
		return 0, nil, 0, err
	}
	o.seq = seq + 1
	typ := handshake.ContentType(rec[0])
	switch {
	case o.params.Version == handshake.TLS13:
		typ, fragment, err = innerPlaintext(fragment)
	case o.inflate != nil:
		fragment, err = o.inflate.inflate(buf, fragment)
	}
	if err == nil && len(fragment) > handshake.MaxPlaintext {
		err = ErrRecordOverflow
	}
	if err != nil {
		return 0, nil, 0, err
	}
	return typ, fragment, seq - s.from, nil
}

// Follow says that rest are the bytes after the record that is opened next, so that Open may begin with the record
// after that at the same time: for AES in CBC mode with SHA-1 this takes less time than one after the other. Nothing else
// depends on it, and Open opens the records one by one as ever, but that plaintext may stand elsewhere than in buf:
// it is valid until the next call.
//
// rest must not change until Follow is called with nil, which the caller does before it lets go of it.
func (o *Opener) Follow(rest []byte) {
	if c, ok := o.opening.(*cbcOpening); ok {
		c.follow(rest)
	}
}

// innerPlaintext takes the padding and the type off (RFC 8446, Section 5.2).
func innerPlaintext(b []byte) (handshake.ContentType, []byte, error) {
	if len(b) > handshake.MaxPlaintext+1 {
		return 0, nil, ErrRecordOverflow
	}
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return handshake.ContentType(b[i]), b[:i], nil
		}
	}
	return 0, nil, ErrMalformed // RFC 8446, Section 5.4
}

// Sequence returns the sequence number of the next record.
func (o *Opener) Sequence() uint64 { return o.seq }

// SetSequence sets the sequence number of the next record.
func (o *Opener) SetSequence(n uint64) { o.seq = n }

// Resync opens a record that comes after lost ones, whose number is not known: it looks for the
// sequence number of rec among window ones from the expected one on, and returns how many it skipped.
// A number that an explicit nonce tells is tried first, and may lie beyond the window. It is as Open
// in all else. If none fits the error is ErrMAC; each number tried costs the verification of one
// record.
func (o *Opener) Resync(buf, rec []byte, window int) (typ handshake.ContentType, plaintext []byte, skipped uint64, err error) {
	return o.open(buf, rec, search{from: o.seq, window: uint64(max(window, 1)), resync: true})
}

// Lose says that the direction lost n bytes of record bodies, headers not counted, or that it is not
// known how many (-1). RC4 skips so much keystream; with -1 it is lost for good. CBC before TLS 1.1
// loses its IV, and so one more record. What DEFLATE compressed is lost for good. The sequence number
// stays: Resync finds it, or SetSequence sets it.
func (o *Opener) Lose(n int) {
	if n == 0 {
		return
	}
	o.opening.lose(n)
	if o.inflate != nil {
		o.inflate.lost = true
	}
}

// LoseRecords says that the direction lost n bytes of whole records, headers counted, of which it is
// not known how many they were. It is as Lose(-1), but that RC4 is not lost: Resync finds the number
// of records, on which the keystream's place depends.
func (o *Opener) LoseRecords(n int) {
	if s, ok := o.opening.(*streamOpening); ok && n > 0 && o.inflate == nil {
		s.loseRecords(n)
		return
	}
	o.Lose(-1)
}

// Preceded says, after Lose, that b are the last bytes before the next record. CBC before TLS 1.1
// takes its IV from them if they are enough, so that the next record is not lost.
func (o *Opener) Preceded(b []byte) {
	if c, ok := o.opening.(*cbcOpening); ok {
		c.preceded(b)
	}
}

// Clone returns an independent copy of o.
func (o *Opener) Clone() *Opener {
	c, err := NewOpener(o.params, o.keys)
	if err != nil {
		panic("record: " + err.Error()) // they were accepted before
	}
	c.seq = o.seq
	c.opening.resume(o.opening)
	if o.inflate != nil {
		c.inflate = o.inflate.clone()
	}
	return c
}

// Sealer returns a sealer that continues the direction where o stands, and shares nothing with it.
// If o lost the state that this takes, sealing fails.
//
// Explicit nonces of GCM and CCM do not continue the peer's: they count from a random number, for the
// peer may itself go on under these keys and a nonce must not come twice (RFC 5288, Section 3).
func (o *Opener) Sealer() *Sealer {
	s, err := NewSealer(o.params, o.keys)
	if err != nil {
		panic("record: " + err.Error()) // they were accepted before
	}
	s.seq = o.seq
	s.sealing.resume(o.opening)
	if o.inflate != nil {
		s.deflate.started = o.inflate.started
	}
	return s
}
