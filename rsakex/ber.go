// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds on the elements of a file: how deep they may lie in others, of which PKCS #12 needs about 10, and
// how many there may be.
const (
	maxBERDepth    = 32
	maxBERElements = 1 << 16
)

// Tags of the universal class, in their primitive and constructed forms.
const (
	tagOctets       = 0x04
	tagConstructed  = 0x20
	lengthUnbounded = 0x80 // the contents end with two zero bytes
)

// toDER takes the first element of BER (X.690, Section 8) and writes it with the lengths of DER, and its
// OCTET STRINGs in one piece. What strings contain is not looked at. The work is bounded by the size of
// the input times maxBERDepth. It returns nil for what is no element.
func toDER(in []byte) []byte {
	s := berReader{in, new(int)}
	e, ok := s.next(maxBERDepth)
	if !ok {
		return nil
	}
	return e.appendDER(nil)
}

// berReader cuts elements off.
type berReader struct {
	rest []byte
	n    *int // of elements so far
}

// berElement is one element, read to its end.
type berElement struct {
	tag      byte
	contents []byte       // of a primitive one
	elements []berElement // of a constructed one
}

// next reads an element and those in it, down to depth.
func (s *berReader) next(depth int) (e berElement, ok bool) {
	if *s.n++; depth == 0 || *s.n > maxBERElements || len(s.rest) < 2 || s.rest[0]&0x1f == 0x1f { // no tag of several bytes is in use here
		return e, false
	}
	e.tag = s.rest[0]
	size, unbounded, ok := s.length()
	switch {
	case !ok:
		return e, false
	case unbounded:
		return e, e.tag&tagConstructed != 0 && s.untilEnd(&e, depth)
	case e.tag&tagConstructed == 0:
		e.contents, s.rest = s.rest[:size], s.rest[size:]
		return e, true
	}
	inner := berReader{s.rest[:size], s.n}
	s.rest = s.rest[size:]
	for len(inner.rest) > 0 {
		in, ok := inner.next(depth - 1)
		if !ok {
			return e, false
		}
		e.elements = append(e.elements, in)
	}
	return e, true
}

// untilEnd reads elements up to the two zero bytes that end them.
func (s *berReader) untilEnd(e *berElement, depth int) bool {
	for {
		if len(s.rest) >= 2 && s.rest[0] == 0 && s.rest[1] == 0 {
			s.rest = s.rest[2:]
			return true
		}
		in, ok := s.next(depth - 1)
		if !ok {
			return false
		}
		e.elements = append(e.elements, in)
	}
}

// length takes tag and length off. The contents are there.
func (s *berReader) length() (size int, unbounded, ok bool) {
	first := s.rest[1]
	s.rest = s.rest[2:]
	switch {
	case first == lengthUnbounded:
		return 0, true, true
	case first < lengthUnbounded:
		size = int(first)
	default:
		n := int(first & 0x7f)
		if n > 4 || n > len(s.rest) {
			return 0, false, false
		}
		for _, b := range s.rest[:n] {
			size = size<<8 | int(b)
		}
		s.rest = s.rest[n:]
	}
	return size, false, size >= 0 && size <= len(s.rest)
}

// appendDER writes an element.
func (e *berElement) appendDER(dst []byte) []byte {
	tag, contents := e.tag, e.contents
	switch {
	case tag == tagOctets|tagConstructed:
		tag, contents = tagOctets, e.appendOctets(nil)
	case tag&tagConstructed != 0:
		contents = nil
		for i := range e.elements {
			contents = e.elements[i].appendDER(contents)
		}
	}
	dst = append(dst, tag)
	switch n := len(contents); {
	case n < 0x80:
		dst = append(dst, byte(n))
	case n < 1<<8:
		dst = append(dst, 0x81, byte(n))
	case n < 1<<16:
		dst = append(dst, 0x82, byte(n>>8), byte(n))
	default:
		dst = append(dst, 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, contents...)
}

// appendOctets puts the pieces of a string together.
func (e *berElement) appendOctets(dst []byte) []byte {
	dst = append(dst, e.contents...)
	for i := range e.elements {
		dst = e.elements[i].appendOctets(dst)
	}
	return dst
}

// readImplicitOctets reads an OCTET STRING under a context-specific tag that took the place of its own,
// from what toDER wrote: there a string in pieces is still one, since only who knows the syntax can tell.
func readImplicitOctets(s *cryptobyte.String, tag asn1.Tag) (out []byte, ok bool) {
	var whole cryptobyte.String
	if s.PeekASN1Tag(tag.ContextSpecific()) {
		ok = s.ReadASN1(&whole, tag.ContextSpecific())
		return whole, ok
	}
	if !s.ReadASN1(&whole, tag.ContextSpecific().Constructed()) {
		return nil, false
	}
	for !whole.Empty() {
		var piece cryptobyte.String
		if !whole.ReadASN1(&piece, asn1.OCTET_STRING) {
			return nil, false
		}
		out = append(out, piece...)
	}
	return out, true
}
