// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/binary"

	"github.com/sightglass/sightglass/handshake"
)

// Sealer makes the records of one direction, in their order. It is not safe for concurrent use.
type Sealer struct {
	params  Params
	seq     uint64
	sealing sealing
	deflate deflater
}

// sealing is the state of one kind of protection.
type sealing interface {
	// seal appends one record to dst. fragment does not overlap dst.
	seal(dst []byte, head recordHead, seq uint64, fragment []byte) ([]byte, error)
	// resume takes over where an opening of the same parameters and keys stands.
	resume(opening)
}

// recordHead is a record's header without its length.
type recordHead struct {
	typ     handshake.ContentType
	version handshake.Version
}

func (h recordHead) append(dst []byte, length int) []byte {
	dst = append(dst, byte(h.typ))
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.version))
	return binary.BigEndian.AppendUint16(dst, uint16(length))
}

// NewSealer returns a sealer whose next record is the direction's first under these keys; see
// NewOpener. Explicit nonces of GCM and CCM are the sequence numbers.
func NewSealer(p Params, k Keys) (*Sealer, error) {
	if err := check(p, k); err != nil {
		return nil, err
	}
	s := &Sealer{params: p}
	k = k.clone()
	var err error
	switch p.Suite.Cipher.Params().Kind {
	case handshake.KindAEAD:
		s.sealing, err = newAEADSealing(p, k)
	case handshake.KindBlock:
		s.sealing, err = newCBCSealing(p, k)
	default:
		s.sealing, err = newStreamSealing(p, k)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Seal appends one record to dst, which plaintext must not overlap. The plaintext is at most
// MaxPlaintext bytes long, else the error is ErrRecordOverflow. On any error nothing is appended.
func (s *Sealer) Seal(dst []byte, typ handshake.ContentType, plaintext []byte) ([]byte, error) {
	if len(plaintext) > handshake.MaxPlaintext {
		return dst, ErrRecordOverflow
	}
	fragment := plaintext
	if s.params.Compression == compressionDEFLATE {
		var err error
		if fragment, err = s.deflate.deflate(plaintext); err != nil {
			return dst, err
		}
	}
	out, err := s.sealing.seal(dst, recordHead{typ, s.params.Version}, s.seq, fragment)
	if err != nil {
		return dst, err
	}
	s.seq++
	return out, nil
}
