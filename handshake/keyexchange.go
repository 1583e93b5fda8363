// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"
)

// ParseClientKeyExchangeRSA returns the encrypted premaster secret of a ClientKeyExchange of an RSA
// suite, a slice of msg. TLS puts its 2-byte length before it, SSL 3.0 does not (RFC 5246,
// Section 7.4.7.1). Old clients that have it the other way round are understood where the message
// cannot mean anything else.
func ParseClientKeyExchangeRSA(msg Message, v Version) (encryptedPremaster []byte, err error) {
	s, err := msg.body(TypeClientKeyExchange)
	if err != nil {
		return nil, err
	}
	if len(s) < 3 {
		return nil, malformed(TypeClientKeyExchange, "encrypted premaster secret")
	}
	declared := int(binary.BigEndian.Uint16(s))
	prefixed := declared == len(s)-2
	switch {
	case v <= SSL30 && prefixed && isModulusLen(declared):
		return s[2:], nil
	case v <= SSL30:
		return s, nil
	case prefixed:
		return s[2:], nil
	case isModulusLen(len(s)) && !isModulusLen(declared):
		return s, nil
	}
	return nil, malformed(TypeClientKeyExchange, "encrypted premaster secret")
}

// isModulusLen reports whether n is a common length in bytes of an RSA modulus, and so of anything
// encrypted with it. No such number is two more than another.
func isModulusLen(n int) bool { return n >= 64 && n <= 2048 && n%8 == 0 }

// RSAParams is a parsed ServerKeyExchange of an RSA_EXPORT suite: a short-lived key that takes the
// place of the certificate's for the premaster secret (RFC 2246, Section 7.4.3). Its byte slices alias
// the message it was parsed from.
type RSAParams struct {
	Raw       []byte // with its header
	Modulus   []byte
	Exponent  []byte
	Signature []byte
}

// ParseServerKeyExchangeRSAExport parses a ServerKeyExchange of an RSA_EXPORT suite.
func ParseServerKeyExchangeRSAExport(msg Message) (*RSAParams, error) {
	s, err := msg.body(TypeServerKeyExchange)
	if err != nil {
		return nil, err
	}
	m := &RSAParams{Raw: msg.Raw}
	switch {
	case !readBytes16(&s, &m.Modulus) || len(m.Modulus) == 0 || !readBytes16(&s, &m.Exponent) || len(m.Exponent) == 0:
		return nil, malformed(TypeServerKeyExchange, "RSA parameters")
	case !readBytes16(&s, &m.Signature) || !s.Empty():
		return nil, malformed(TypeServerKeyExchange, "signature")
	}
	return m, nil
}

// NewSessionTicket is a parsed NewSessionTicket message. Its byte slices alias the message it was
// parsed from.
type NewSessionTicket struct {
	Raw        []byte      // with its header
	Lifetime   uint32      // seconds; before TLS 1.3 a hint, 0 for unknown
	Ticket     []byte      // empty before TLS 1.3 when the server has changed its mind
	AgeAdd     uint32      // TLS 1.3
	Nonce      []byte      // TLS 1.3
	Extensions []Extension // TLS 1.3
}

// ParseNewSessionTicket parses the NewSessionTicket message of TLS 1.0 to 1.2 (RFC 5077,
// Section 3.3).
func ParseNewSessionTicket(msg Message) (*NewSessionTicket, error) {
	s, err := msg.body(TypeNewSessionTicket)
	if err != nil {
		return nil, err
	}
	m := &NewSessionTicket{Raw: msg.Raw}
	if !s.ReadUint32(&m.Lifetime) || !readBytes16(&s, &m.Ticket) || !s.Empty() {
		return nil, malformed(TypeNewSessionTicket, "lifetime or ticket")
	}
	return m, nil
}

// ParseNewSessionTicket13 parses the NewSessionTicket message of TLS 1.3 (RFC 8446, Section 4.6.1).
func ParseNewSessionTicket13(msg Message) (*NewSessionTicket, error) {
	s, err := msg.body(TypeNewSessionTicket)
	if err != nil {
		return nil, err
	}
	m := &NewSessionTicket{Raw: msg.Raw}
	switch {
	case !s.ReadUint32(&m.Lifetime) || !s.ReadUint32(&m.AgeAdd) || !readBytes8(&s, &m.Nonce):
		return nil, malformed(TypeNewSessionTicket, "lifetime or nonce")
	case !readBytes16(&s, &m.Ticket) || len(m.Ticket) == 0:
		return nil, malformed(TypeNewSessionTicket, "ticket")
	case !readExtensions(&s, &m.Extensions) || !s.Empty():
		return nil, malformed(TypeNewSessionTicket, "extensions")
	}
	return m, nil
}

// NextProtocol is a parsed NextProtocol message (draft-agl-tls-nextprotoneg-04, Section 3).
type NextProtocol struct {
	Raw      []byte // with its header
	Protocol string // empty when the client knows none of the server's
}

// ParseNextProtocol parses a NextProtocol message.
func ParseNextProtocol(msg Message) (*NextProtocol, error) {
	s, err := msg.body(TypeNextProtocol)
	if err != nil {
		return nil, err
	}
	var name, padding cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&name) || !s.ReadUint8LengthPrefixed(&padding) || !s.Empty() {
		return nil, malformed(TypeNextProtocol, "protocol or padding")
	}
	return &NextProtocol{Raw: msg.Raw, Protocol: string(name)}, nil
}

// KeyUpdate is a parsed KeyUpdate message (RFC 8446, Section 4.6.3).
type KeyUpdate struct {
	Raw             []byte // with its header
	UpdateRequested bool   // the peer must update its own keys too
}

// ParseKeyUpdate parses a KeyUpdate message.
func ParseKeyUpdate(msg Message) (*KeyUpdate, error) {
	s, err := msg.body(TypeKeyUpdate)
	if err != nil {
		return nil, err
	}
	var request uint8
	if !s.ReadUint8(&request) || request > 1 || !s.Empty() {
		return nil, malformed(TypeKeyUpdate, "request")
	}
	return &KeyUpdate{Raw: msg.Raw, UpdateRequested: request == 1}, nil
}
