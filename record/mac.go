// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"hash"

	"github.com/sightglass/sightglass/handshake"
)

// recordMAC computes the MAC of records under one key. It is not safe for concurrent use: its
// scratch space is what keeps it from allocating.
type recordMAC struct {
	hash   hash.Hash // HMAC, or for SSL 3.0 the bare hash
	size   int
	secret []byte // SSL 3.0 only
	head   [13]byte
	sum    [sha512.Size384]byte
}

func newRecordMAC(v handshake.Version, m handshake.MAC, key []byte) *recordMAC {
	if v == handshake.SSL30 {
		return &recordMAC{hash: newHash(m)(), size: m.Len(), secret: key}
	}
	return &recordMAC{hash: hmac.New(newHash(m), key), size: m.Len()}
}

func newHash(m handshake.MAC) func() hash.Hash {
	switch m {
	case handshake.MACMD5:
		return md5.New
	case handshake.MACSHA1:
		return sha1.New
	case handshake.MACSHA256:
		return sha256.New
	default:
		return sha512.New384
	}
}

// compute returns the MAC of a payload: of the plaintext, or with encrypt-then-MAC of IV and
// ciphertext. Type and version are rec's. The result is valid until the next call.
func (m *recordMAC) compute(seq uint64, rec, payload []byte) []byte {
	if m.secret != nil {
		return m.computeSSL30(seq, rec[0], payload)
	}
	m.head = macHead(seq, rec, len(payload))
	m.hash.Reset()
	m.hash.Write(m.head[:])
	m.hash.Write(payload)
	return m.hash.Sum(m.sum[:0])
}

// macHead is what the MAC of a payload of n bytes begins with (RFC 5246, Section 6.2.3.1; RFC 7366, Section 3).
func macHead(seq uint64, rec []byte, n int) (head [13]byte) {
	binary.BigEndian.PutUint64(head[:], seq)
	copy(head[8:11], rec)
	binary.BigEndian.PutUint16(head[11:], uint16(n))
	return head
}

// pad1 and pad2 are those of RFC 6101, Section 5.2.3.1, as long as MD5 needs them.
var (
	pad1 = bytes.Repeat([]byte{0x36}, 48)
	pad2 = bytes.Repeat([]byte{0x5C}, 48)
)

// computeSSL30 is RFC 6101, Section 5.2.3.1. The version is not part of it.
func (m *recordMAC) computeSSL30(seq uint64, typ byte, payload []byte) []byte {
	n := 48 // MD5
	if m.size == sha1.Size {
		n = 40
	}
	binary.BigEndian.PutUint64(m.head[:], seq)
	m.head[8] = typ
	binary.BigEndian.PutUint16(m.head[9:], uint16(len(payload)))
	m.hash.Reset()
	m.hash.Write(m.secret)
	m.hash.Write(pad1[:n])
	m.hash.Write(m.head[:11])
	m.hash.Write(payload)
	inner := m.hash.Sum(m.sum[:0])
	m.hash.Reset()
	m.hash.Write(m.secret)
	m.hash.Write(pad2[:n])
	m.hash.Write(inner)
	return m.hash.Sum(m.sum[:0])
}

// find looks for the sequence number, among window ones from from on, with which tag is the MAC.
func (m *recordMAC) find(from, window uint64, rec, payload, tag []byte) (uint64, bool) {
	for i := range window {
		if subtle.ConstantTimeCompare(m.compute(from+i, rec, payload), tag) == 1 {
			return from + i, true
		}
	}
	return 0, false
}
