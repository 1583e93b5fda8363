// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Sizes of the SSLv2-compatible CLIENT-HELLO, in bytes (RFC 5246, Appendix E.2).
const (
	v2HeaderLen    = 2 // the length, its highest bit set: no padding
	v2FixedLen     = 9 // type, version and three lengths
	v2SpecLen      = 3
	v2MinChallenge = 16
	v2MaxChallenge = 32
	v2MinHello     = v2FixedLen + v2SpecLen + v2MinChallenge
)

// The SSLv2 message types that are met here.
const (
	v2ClientHello = 1
	v2ServerHello = 4
)

// ParseV2ClientHello parses the SSLv2-compatible CLIENT-HELLO at the head of record, which begins
// with its 2-byte length. n is how many bytes it takes in the stream. With too few bytes, err is
// ErrIncomplete and n says how many are needed to go on.
//
// Raw is what enters the transcript: the message without its 2-byte length (RFC 5246, Appendix E.2).
// The challenge becomes Random, with zeros before it. CipherSuites are the specs that stand for
// suites of SSL 3.0 and later; those of SSL 2.0 proper are left out.
func ParseV2ClientHello(record []byte) (ch *ClientHello, n int, err error) {
	if len(record) < v2HeaderLen {
		return nil, v2HeaderLen, ErrIncomplete
	}
	if record[0]&0x80 == 0 {
		return nil, 0, malformed(TypeClientHello, "SSLv2 header")
	}
	n = v2HeaderLen + v2Len(record)
	if len(record) < n {
		return nil, n, ErrIncomplete
	}
	h := &ClientHello{Raw: record[v2HeaderLen:n:n], V2: true, Compressions: []byte{0}}
	s := cryptobyte.String(h.Raw)
	var kind uint8
	var specsLen, idLen, challengeLen uint16
	var specs, challenge []byte
	switch {
	case !s.ReadUint8(&kind) || kind != v2ClientHello || !s.ReadUint16((*uint16)(&h.Version)):
		return nil, 0, malformed(TypeClientHello, "SSLv2 type and version")
	case !s.ReadUint16(&specsLen) || !s.ReadUint16(&idLen) || !s.ReadUint16(&challengeLen):
		return nil, 0, malformed(TypeClientHello, "SSLv2 lengths")
	case specsLen == 0 || specsLen%v2SpecLen != 0 || !s.ReadBytes(&specs, int(specsLen)):
		return nil, 0, malformed(TypeClientHello, "SSLv2 cipher specs")
	case idLen > maxSessionID || !s.ReadBytes(&h.SessionID, int(idLen)):
		return nil, 0, malformed(TypeClientHello, "SSLv2 session ID")
	case challengeLen < v2MinChallenge || challengeLen > v2MaxChallenge ||
		!s.ReadBytes(&challenge, int(challengeLen)) || !s.Empty():
		return nil, 0, malformed(TypeClientHello, "SSLv2 challenge")
	}
	copy(h.Random[len(h.Random)-len(challenge):], challenge)
	h.CipherSuites = v2Suites(specs)
	h.SecureRenegotiation = slices.Contains(h.CipherSuites, suiteEmptyRenegotiationInfo)
	h.Fallback = slices.Contains(h.CipherSuites, suiteFallback)
	return h, n, nil
}

// v2Len returns the length that stands in the first two bytes of an SSLv2 record.
func v2Len(record []byte) int { return int(record[0]&0x7f)<<8 | int(record[1]) }

// v2Suites returns the specs that begin with a zero byte: suites of SSL 3.0 and later.
func v2Suites(specs []byte) []uint16 {
	suites := make([]uint16, 0, len(specs)/v2SpecLen)
	for ; len(specs) >= v2SpecLen; specs = specs[v2SpecLen:] {
		if specs[0] == 0 {
			suites = append(suites, uint16(specs[1])<<8|uint16(specs[2]))
		}
	}
	return suites
}
