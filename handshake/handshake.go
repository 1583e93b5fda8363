// SPDX-License-Identifier: Apache-2.0

// Package handshake knows what TLS peers say: records, handshake messages, cipher suites and
// alerts, from SSL 2.0's CLIENT-HELLO to TLS 1.3. It parses and names; it holds no key, no
// connection and no opinion.
package handshake

import "fmt"

// Side is one end of a connection.
type Side uint8

// The two sides.
const (
	Client Side = iota
	Server
)

// Opposite returns the other side.
func (s Side) Opposite() Side { return s ^ 1 }

// String returns "client" or "server".
func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "server"
}

// Version is a protocol version as it stands on the wire.
type Version uint16

// The versions.
const (
	SSL20 Version = 0x0002
	SSL30 Version = 0x0300
	TLS10 Version = 0x0301
	TLS11 Version = 0x0302
	TLS12 Version = 0x0303
	TLS13 Version = 0x0304
)

// String returns the version's name, such as "TLS 1.2".
func (v Version) String() string {
	switch v {
	case SSL20:
		return "SSL 2.0"
	case SSL30:
		return "SSL 3.0"
	case TLS10:
		return "TLS 1.0"
	case TLS11:
		return "TLS 1.1"
	case TLS12:
		return "TLS 1.2"
	case TLS13:
		return "TLS 1.3"
	default:
		return fmt.Sprintf("version 0x%04x", uint16(v))
	}
}

// Record returns the version that stands in the header of records of v: TLS 1.3 calls itself TLS 1.2
// there (RFC 8446, Section 5.1), and what has no records of this form gets SSL 3.0's.
func (v Version) Record() Version {
	switch {
	case v >= TLS13:
		return TLS12
	case v < SSL30:
		return SSL30
	default:
		return v
	}
}

// IsGREASE reports whether v is a reserved value that clients send to keep servers tolerant
// (RFC 8701): of cipher suites, extensions, groups, signature algorithms and versions alike.
func IsGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// Random is a hello's random value.
type Random [32]byte
