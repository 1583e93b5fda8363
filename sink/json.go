// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"net/netip"
	"strconv"
	"unicode/utf8"
)

// jsonText builds one JSON text. It allocates only to grow, and takes any bytes as strings: what
// is not UTF-8 becomes U+FFFD, and nothing in a string can end it or the line.
type jsonText struct {
	b []byte
}

// next begins a value, or the key of one, with the comma it may need.
func (j *jsonText) next() {
	if n := len(j.b); n > 0 {
		switch j.b[n-1] {
		case '{', '[', ':':
		default:
			j.b = append(j.b, ',')
		}
	}
}

// key begins a member of an object. Names are ours: they need no escapes.
func (j *jsonText) key(name string) {
	j.next()
	j.b = append(append(append(j.b, '"'), name...), `":`...)
}

func (j *jsonText) str(name, value string) {
	j.key(name)
	j.b = appendJSONString(j.b, value)
}

// addr writes an address, IPv4 in its own form.
func (j *jsonText) addr(name string, a netip.Addr) {
	if a = a.Unmap(); a.Zone() != "" {
		j.str(name, a.String()) // a zone's name may be anything
		return
	}
	j.key(name)
	j.b = append(a.AppendTo(append(j.b, '"')), '"')
}

// opt writes a string that is not empty.
func (j *jsonText) opt(name, value string) {
	if value != "" {
		j.str(name, value)
	}
}

func (j *jsonText) uint(name string, v uint64) {
	j.key(name)
	j.b = strconv.AppendUint(j.b, v, 10)
}

func (j *jsonText) int(name string, v int64) {
	j.key(name)
	j.b = strconv.AppendInt(j.b, v, 10)
}

func (j *jsonText) bool(name string, v bool) {
	j.key(name)
	j.b = strconv.AppendBool(j.b, v)
}

// members writes members of an object that were written before.
func (j *jsonText) members(text []byte) {
	j.next()
	j.b = append(j.b, text...)
}

// item writes a string as an array's element.
func (j *jsonText) item(value string) {
	j.next()
	j.b = appendJSONString(j.b, value)
}

// object begins an object, as a member; with no name, as an element or the whole.
func (j *jsonText) object(name string) { j.open(name, '{') }

// array begins an array, likewise.
func (j *jsonText) array(name string) { j.open(name, '[') }

func (j *jsonText) open(name string, c byte) {
	if name == "" {
		j.next()
	} else {
		j.key(name)
	}
	j.b = append(j.b, c)
}

func (j *jsonText) endObject() { j.b = append(j.b, '}') }
func (j *jsonText) endArray()  { j.b = append(j.b, ']') }

// appendJSONString appends s as a JSON string (RFC 8259, Section 7). Beyond what that demands, it
// escapes DEL, and U+2028 and U+2029, which end a line for some readers.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < 0x7f {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			dst = appendJSONControl(dst, c)
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\u`...)
			dst = append(dst, lowerHex[r>>12&15], lowerHex[r>>8&15], lowerHex[r>>4&15], lowerHex[r&15])
			start = i + n
		}
		i += n
	}
	return append(append(dst, s[start:]...), '"')
}

func appendJSONControl(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	default:
		return append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
	}
}
