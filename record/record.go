// SPDX-License-Identifier: Apache-2.0

// Package record is record protection: it opens and seals the records of one direction of a
// connection, from SSL 3.0 to TLS 1.3, under keys that it is given. It does not know where keys come
// from nor what records say, and it never returns plaintext whose MAC or tag was not verified.
package record

import (
	"errors"
	"fmt"
	"io"

	"github.com/sightglass/sightglass/handshake"
)

// The errors of opening and sealing.
var (
	// ErrUnsupported says that no records can be opened with this version, suite and compression.
	ErrUnsupported = errors.New("record: unsupported protection")
	// ErrMAC says that a record is not authentic: the MAC, the tag or the padding is wrong. Which of
	// them is not told.
	ErrMAC = errors.New("record: authentication failed")
	// ErrRecordOverflow says that a record or its plaintext is longer than the protocol allows.
	ErrRecordOverflow = errors.New("record: record overflow")
	// ErrMalformed says that a record, or what it holds, has not the form that its protection demands.
	ErrMalformed = errors.New("record: malformed record")
	// ErrIVLost says that this record cannot be read for want of the one before it, whose last block is
	// its IV. The next one can be.
	ErrIVLost = errors.New("record: the IV is lost")
	// ErrStreamLost says that the keystream, or the state of the decompression, is lost for good.
	ErrStreamLost = errors.New("record: the stream's state is lost")
)

// Params says how the records of one direction are protected.
type Params struct {
	Version        handshake.Version
	Suite          *handshake.Suite
	EncryptThenMAC bool  // RFC 7366; counts with block ciphers alone
	Compression    uint8 // 0 null, 1 DEFLATE (RFC 3749); not in TLS 1.3
}

// Keys are the secrets of one direction: slices of the key block, or of TLS 1.3's traffic key and IV,
// where MAC is empty. With export suites Key and IV are the final ones (RFC 2246, Section 6.3.1).
// They format as a placeholder.
type Keys struct{ MAC, Key, IV []byte }

// Format writes a placeholder, whatever the verb.
func (Keys) Format(f fmt.State, _ rune) { io.WriteString(f, "[keys]") }

// KeySizes returns how many bytes of MAC key, key and IV one direction takes from the key block.
// With export suites the key is shorter than the final one, which NewOpener takes.
func KeySizes(p Params) (mac, key, iv int) {
	if p.Suite == nil {
		return 0, 0, 0
	}
	c := p.Suite.Cipher.Params()
	return p.Suite.MAC.Len(), c.KeyLen, ivLen(p, c)
}

func ivLen(p Params, c handshake.CipherParams) int {
	switch {
	case c.Kind == handshake.KindAEAD && p.Version == handshake.TLS13:
		return aeadNonceLen // RFC 8446, Section 5.3
	case c.Kind == handshake.KindAEAD:
		return c.FixedIVLen
	case chained(p.Version):
		return c.BlockLen
	default:
		return 0 // RFC 4346, Section 6.2.3.2: the IV stands in the record
	}
}

// chained says whether a CBC record's IV is the last block of the record before it.
func chained(v handshake.Version) bool { return v <= handshake.TLS10 }

// check says whether there are such records, and whether the keys fit them.
func check(p Params, k Keys) error {
	if p.Suite == nil {
		return fmt.Errorf("%w: no cipher suite", ErrUnsupported)
	}
	c := p.Suite.Cipher.Params()
	if !sound(p, c) {
		return fmt.Errorf("%w: %s in %v, compression %d", ErrUnsupported, p.Suite.Name, p.Version, p.Compression)
	}
	if len(k.MAC) != p.Suite.MAC.Len() || len(k.Key) != c.ExpandedKeyLen || len(k.IV) < ivLen(p, c) {
		return fmt.Errorf("record: keys of %d, %d and %d bytes do not fit %s", len(k.MAC), len(k.Key), len(k.IV), p.Suite.Name)
	}
	return nil
}

func sound(p Params, c handshake.CipherParams) bool {
	if p.Version < handshake.SSL30 || p.Version > handshake.TLS13 || c.Kind == handshake.KindUnknown {
		return false
	}
	is13 := p.Version == handshake.TLS13
	switch {
	case p.Compression > compressionDEFLATE, is13 && p.Compression != 0:
		return false
	case is13 != (p.Suite.KeyExchange == handshake.KeyExchangeTLS13):
		return false
	case c.Kind == handshake.KindAEAD:
		return p.Version >= handshake.TLS12 // RFC 5246, Section 6.2.3.3
	case p.Suite.MAC == handshake.MACNULL:
		return false // nothing could be verified
	case p.Version == handshake.SSL30:
		// RFC 6101, Section 5.2.3.1 knows MD5 and SHA-1; SSL 3.0 has no extensions.
		return p.Suite.MAC <= handshake.MACSHA1 && !p.EncryptThenMAC
	default:
		return true
	}
}

// body returns what follows the header of a whole record.
func body(p Params, rec []byte) ([]byte, error) {
	if len(rec) < handshake.RecordHeaderLen {
		return nil, ErrMalformed
	}
	b := rec[handshake.RecordHeaderLen:]
	limit := handshake.MaxCiphertext
	if p.Version == handshake.TLS13 {
		limit = handshake.MaxPlaintext + 256 // RFC 8446, Section 5.2
		if handshake.ContentType(rec[0]) != handshake.ContentApplicationData {
			return nil, ErrMalformed
		}
	}
	switch {
	case len(b) != int(rec[3])<<8|int(rec[4]):
		return nil, ErrMalformed
	case len(b) > limit:
		return nil, ErrRecordOverflow
	}
	return b, nil
}

// room returns n bytes, buf's own if it has them.
func room(buf []byte, n int) []byte {
	if cap(buf) < n {
		return make([]byte, n)
	}
	return buf[:n]
}
