// SPDX-License-Identifier: Apache-2.0

package record

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"

	"github.com/sightglass/sightglass/handshake"
)

// aead is what opening and sealing have in common: how nonce and additional data are made.
type aead struct {
	tls13    bool
	explicit int // length of the part of the nonce that stands in the record
	iv       [aeadNonceLen]byte
	nonce    [aeadNonceLen]byte // scratch: on the stack it would escape
	data     [13]byte           // scratch
}

func newAEADState(p Params, k Keys) (a aead) {
	a.tls13 = p.Version == handshake.TLS13
	if !a.tls13 {
		a.explicit = p.Suite.Cipher.Params().ExplicitNonceLen
	}
	copy(a.iv[:], k.IV[:ivLen(p, p.Suite.Cipher.Params())])
	return a
}

// prepare sets nonce and data for a record of n bytes of plaintext. In TLS 1.3 the length in its
// header must be set.
func (a *aead) prepare(seq uint64, rec []byte, n int) {
	a.nonce = a.iv
	if a.explicit > 0 {
		copy(a.nonce[aeadNonceLen-a.explicit:], rec[handshake.RecordHeaderLen:]) // RFC 5288, Section 3
	} else {
		low := a.nonce[aeadNonceLen-8:] // RFC 8446, Section 5.3; RFC 7905, Section 2
		binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^seq)
	}
	if a.tls13 {
		copy(a.data[:handshake.RecordHeaderLen], rec) // RFC 8446, Section 5.2
		return
	}
	binary.BigEndian.PutUint64(a.data[:], seq) // RFC 5246, Section 6.2.3.3
	copy(a.data[8:11], rec)
	binary.BigEndian.PutUint16(a.data[11:], uint16(n))
}

func (a *aead) additional() []byte {
	if a.tls13 {
		return a.data[:handshake.RecordHeaderLen]
	}
	return a.data[:]
}

// aeadOpener is the half of a cipher.AEAD that opens.
type aeadOpener interface {
	Open(dst, nonce, ciphertext, additional []byte) ([]byte, error)
	Overhead() int
}

type aeadOpening struct {
	aead
	cipher aeadOpener
	// drift is the explicit nonce less the sequence number in the last record: peers count nonces, but
	// not all of them from 0.
	drift uint64
}

func newAEADOpening(p Params, k Keys) (*aeadOpening, error) {
	c, err := newAEADOpener(p.Suite.Cipher, k.Key)
	return &aeadOpening{aead: newAEADState(p, k), cipher: c}, err
}

func (a *aeadOpening) open(buf, rec, b []byte, s search) ([]byte, uint64, error) {
	n := len(b) - a.explicit - a.cipher.Overhead()
	if n < 0 {
		return nil, 0, ErrMalformed
	}
	buf = room(buf, n)
	if s.resync && a.explicit > 0 {
		nonce := binary.BigEndian.Uint64(b)
		for _, seq := range [2]uint64{nonce - a.drift, nonce} {
			if seq < s.from {
				continue
			}
			if fragment, ok := a.try(buf, rec, b, seq); ok {
				return fragment, seq, nil
			}
		}
	}
	for i := range s.window {
		if fragment, ok := a.try(buf, rec, b, s.from+i); ok {
			return fragment, s.from + i, nil
		}
	}
	return nil, 0, ErrMAC
}

func (a *aeadOpening) try(buf, rec, b []byte, seq uint64) ([]byte, bool) {
	a.prepare(seq, rec, len(buf))
	fragment, err := a.cipher.Open(buf[:0], a.nonce[:], b[a.explicit:], a.additional())
	if err != nil {
		return nil, false
	}
	if a.explicit > 0 {
		a.drift = binary.BigEndian.Uint64(b) - seq
	}
	return fragment, true
}

func (a *aeadOpening) lose(int) {}

func (a *aeadOpening) resume(o opening) { a.drift = o.(*aeadOpening).drift }

type aeadSealing struct {
	aead
	cipher cipher.AEAD
	drift  uint64 // explicit nonce less sequence number
}

func newAEADSealing(p Params, k Keys) (*aeadSealing, error) {
	c, err := newAEAD(p.Suite.Cipher, k.Key)
	return &aeadSealing{aead: newAEADState(p, k), cipher: c}, err
}

func (a *aeadSealing) seal(dst []byte, head recordHead, seq uint64, fragment []byte) ([]byte, error) {
	start := len(dst)
	n := a.explicit + len(fragment) + a.cipher.Overhead()
	if a.tls13 {
		fragment = append(fragment[:len(fragment):len(fragment)], byte(head.typ))
		head.typ, head.version = handshake.ContentApplicationData, handshake.TLS12
		n++
	}
	dst = head.append(dst, n)
	if a.explicit > 0 {
		dst = binary.BigEndian.AppendUint64(dst, seq+a.drift)
	}
	a.prepare(seq, dst[start:], len(fragment))
	return a.cipher.Seal(dst, a.nonce[:], fragment, a.additional()), nil
}

func (a *aeadSealing) resume(opening) {
	var b [8]byte
	rand.Read(b[:])
	a.drift = binary.BigEndian.Uint64(b[:])
}
