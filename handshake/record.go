// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ContentType is a record's type (RFC 5246, Section 6.2.1).
type ContentType uint8

// The content types.
const (
	ContentChangeCipherSpec ContentType = 20
	ContentAlert            ContentType = 21
	ContentHandshake        ContentType = 22
	ContentApplicationData  ContentType = 23
	ContentHeartbeat        ContentType = 24
)

// String returns the registry's name, such as "application_data".
func (t ContentType) String() string {
	switch t {
	case ContentChangeCipherSpec:
		return "change_cipher_spec"
	case ContentAlert:
		return "alert"
	case ContentHandshake:
		return "handshake"
	case ContentApplicationData:
		return "application_data"
	case ContentHeartbeat:
		return "heartbeat"
	default:
		return fmt.Sprintf("content(%d)", uint8(t))
	}
}

// Sizes of records, in bytes (RFC 5246, Section 6.2).
const (
	RecordHeaderLen = 5
	MaxPlaintext    = 1 << 14
	MaxCiphertext   = 1<<14 + 2048
)

// Errors of what is read from the head of a stream.
var (
	// ErrNotRecord says that the bytes cannot be the head of a TLS record.
	ErrNotRecord = errors.New("not a TLS record")
	// ErrIncomplete says that the bytes are a sound beginning, but too few.
	ErrIncomplete = errors.New("incomplete")
)

// RecordHeader is the head of a record of SSL 3.0 and later.
type RecordHeader struct {
	Type    ContentType
	Version Version
	Length  int // of the fragment that follows, bytes
}

// ParseRecordHeader parses the first RecordHeaderLen bytes of b. It refuses, with an error that wraps
// ErrNotRecord, a type that no version knows, a major version other than 3 and a fragment longer than
// MaxCiphertext. Fewer bytes than a header are ErrIncomplete.
func ParseRecordHeader(b []byte) (RecordHeader, error) {
	if len(b) < RecordHeaderLen {
		return RecordHeader{}, ErrIncomplete
	}
	h := RecordHeader{
		Type:    ContentType(b[0]),
		Version: Version(binary.BigEndian.Uint16(b[1:])),
		Length:  int(binary.BigEndian.Uint16(b[3:])),
	}
	switch {
	case h.Type < ContentChangeCipherSpec || h.Type > ContentHeartbeat:
		return RecordHeader{}, fmt.Errorf("%w: type %d", ErrNotRecord, b[0])
	case h.Version>>8 != 3:
		return RecordHeader{}, fmt.Errorf("%w: %v", ErrNotRecord, h.Version)
	case h.Length > MaxCiphertext:
		return RecordHeader{}, fmt.Errorf("%w: fragment of %d bytes", ErrNotRecord, h.Length)
	}
	return h, nil
}
