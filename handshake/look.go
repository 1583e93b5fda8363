// SPDX-License-Identifier: Apache-2.0

package handshake

import "encoding/binary"

// Match is what a few bytes tell about what they begin.
type Match uint8

// The answers. No and Yes are final: more bytes never change them.
const (
	No    Match = iota
	Maybe       // too short to tell
	Yes
)

// String returns "no", "maybe" or "yes".
func (m Match) String() string {
	switch m {
	case No:
		return "no"
	case Yes:
		return "yes"
	default:
		return "maybe"
	}
}

// maxClientHello is the length of the longest body that the vectors of a ClientHello allow, bytes.
const maxClientHello = 2 + 32 + 1 + maxSessionID + 2 + (1<<16 - 2) + 1 + 255 + 2 + (1<<16 - 1)

// LooksLikeClientHello says whether b, the head of a stream, begins with a ClientHello in records, or
// with an SSLv2-compatible CLIENT-HELLO (RFC 5246, Appendix E.2). Yes is strong enough for any port:
// all lengths and types up to the cipher suites are looked at. The hello may be cut into records of
// any size. Minor versions are not looked at: peers negotiate down from those they do not know.
func LooksLikeClientHello(b []byte) Match {
	if len(b) == 0 {
		return Maybe
	}
	if b[0]&0x80 != 0 {
		return looksLikeV2(b, v2ClientHello)
	}
	l := look{b: b, match: Yes}
	l.fixed(byte(TypeClientHello))
	size := l.number(3)
	l.check(size <= maxClientHello && l.fragment <= size) // nothing may follow it in its record
	l.fixed(3)                                            // client_version
	l.skip(1 + len(Random{}))
	id := l.number(1)
	l.check(id <= maxSessionID)
	l.skip(id)
	suites := l.number(2)
	// What is left holds at least one compression method.
	l.check(suites > 0 && suites%2 == 0 && 2+len(Random{})+1+id+2+suites+2 <= size)
	return l.match
}

// look walks over the handshake bytes in records. Once match is not Yes it stays as it is, and what is
// read is zero.
type look struct {
	b        []byte
	fragment int // bytes left in the record
	match    Match
}

// next returns the next handshake byte, over record headers.
func (l *look) next() byte {
	if l.match == Yes && l.fragment == 0 {
		l.header()
	}
	if l.match == Yes && len(l.b) == 0 {
		l.match = Maybe
	}
	if l.match != Yes {
		return 0
	}
	v := l.b[0]
	l.b, l.fragment = l.b[1:], l.fragment-1
	return v
}

// header reads a record header, each byte as soon as it is there.
func (l *look) header() {
	h := l.b[:min(len(l.b), RecordHeaderLen)]
	switch {
	case len(h) > 0 && ContentType(h[0]) != ContentHandshake, len(h) > 1 && h[1] != 3:
		l.match = No
	case len(h) < RecordHeaderLen:
		l.match = Maybe
	default:
		l.fragment = int(binary.BigEndian.Uint16(h[3:]))
		l.b = l.b[RecordHeaderLen:]
		// No handshake fragment is empty (RFC 5246, Section 6.2.1).
		l.check(l.fragment > 0 && l.fragment <= MaxPlaintext)
	}
}

// number reads a big-endian number of n bytes.
func (l *look) number(n int) (v int) {
	for range n {
		v = v<<8 | int(l.next())
	}
	return v
}

// fixed reads a byte that must be want.
func (l *look) fixed(want byte) { l.check(l.next() == want) }

// skip passes over n bytes.
func (l *look) skip(n int) {
	for range n {
		l.next()
	}
}

// check makes the answer No unless ok, where all that was read so far was there.
func (l *look) check(ok bool) {
	if l.match == Yes && !ok {
		l.match = No
	}
}

// LooksLikeV2ServerHello says whether b, the head of a server's stream, begins with the SERVER-HELLO
// of SSL 2.0: the server chose a version that nobody should.
func LooksLikeV2ServerHello(b []byte) Match {
	if len(b) == 0 {
		return Maybe
	}
	return looksLikeV2(b, v2ServerHello)
}

// v2ServerFixedLen is the length of the fixed part of a SERVER-HELLO, bytes: type, session ID hit,
// certificate type, version and three lengths.
const v2ServerFixedLen = 11

// looksLikeV2 says whether b begins with an SSLv2 record that holds exactly one hello of the type.
func looksLikeV2(b []byte, kind byte) Match {
	fixed, version := v2FixedLen, 3
	if kind == v2ServerHello {
		fixed, version = v2ServerFixedLen, 5
	}
	lengths := v2HeaderLen + fixed - 6
	switch {
	case b[0]&0x80 == 0,
		len(b) > 1 && v2Len(b) < fixed,
		len(b) > 2 && b[2] != kind,
		len(b) > version && b[version] != 3 && b[version] != 0,
		len(b) > version+1 && b[version] == 0 && b[version+1] != byte(SSL20):
		return No
	case len(b) < v2HeaderLen+fixed:
		return Maybe
	}
	n := [3]int{}
	for i := range n {
		n[i] = int(binary.BigEndian.Uint16(b[lengths+2*i:]))
	}
	if v2Len(b) != fixed+n[0]+n[1]+n[2] {
		return No
	}
	if kind == v2ClientHello && (n[0] == 0 || n[0]%v2SpecLen != 0 || n[1] > maxSessionID ||
		n[2] < v2MinChallenge || n[2] > v2MaxChallenge) {
		return No
	}
	return Yes
}
