// SPDX-License-Identifier: Apache-2.0

// Package sha1x2 computes HMAC-SHA1 of two messages at once. SHA-1 is one chain of steps, and with the SHA
// instructions each waits for the one before it most of the time: two chains side by side take little longer than
// one. Without the instructions there is nothing to gain, see Fast.
package sha1x2

import (
	"crypto/sha1"
	"encoding/binary"
	"math/bits"
)

// Size is the length of a MAC in bytes.
const Size = sha1.Size

const blockSize = sha1.BlockSize

// Key is a key of HMAC: the hashes that have taken the padded key (RFC 2104, Section 4).
type Key struct{ inner, outer hash }

// NewKey returns a Key. key is not longer than a block, 64 bytes.
func NewKey(key []byte) *Key {
	var pads [2][blockSize]byte
	copy(pads[0][:], key)
	copy(pads[1][:], key)
	for i := range blockSize {
		pads[0][i] ^= 0x36
		pads[1][i] ^= 0x5C
	}
	h := hashes{initial, initial}
	h.add(pads[0][:], pads[1][:])
	return &Key{h[0], h[1]}
}

// Message is what a MAC is of: Head, shorter than a block, and then Body.
type Message struct{ Head, Body []byte }

// Sum returns the MACs of two messages, which may differ in length. It allocates nothing.
func (k *Key) Sum(m, n Message) (mac [2][Size]byte) {
	var edges [2][3 * blockSize]byte
	first0, middle0, last0 := m.split(&edges[0])
	first1, middle1, last1 := n.split(&edges[1])
	h := hashes{k.inner, k.inner}
	h.add(first0, first1)
	h.add(middle0, middle1)
	h.add(last0, last1)
	var inner [2][blockSize]byte
	for i := range inner {
		h[i].put(inner[i][:])
		pad(inner[i][:], Size, Size)
	}
	h = hashes{k.outer, k.outer}
	h.add(inner[0][:], inner[1][:])
	for i := range mac {
		h[i].put(mac[i][:])
	}
	return mac
}

// split returns the blocks of a message, padding included: all but the first and the last ones are its body's own.
// The others stand in edges, which is zero.
func (m Message) split(edges *[3 * blockSize]byte) (first, middle, last []byte) {
	length := len(m.Head) + len(m.Body)
	n, body := copy(edges[:], m.Head), m.Body
	if length >= blockSize {
		body = body[copy(edges[n:blockSize], body):]
		whole := len(body) / blockSize * blockSize
		first, middle, body, n = edges[:blockSize], body[:whole], body[whole:], 0
	}
	last = edges[len(first):]
	n += copy(last[n:], body)
	size := blockSize
	if n+1+8 > blockSize {
		size += blockSize
	}
	pad(last[:size], n, length)
	return first, middle, last[:size]
}

// pad ends b, of which n bytes are the message's, as FIPS 180-4, Section 5.1.1 has it. The message is of length
// bytes, after the padded key.
func pad(b []byte, n, length int) {
	b[n] = 0x80
	binary.BigEndian.PutUint64(b[len(b)-8:], 8*uint64(blockSize+length))
}

// hash is the state of SHA-1, from a to e.
type hash [5]uint32

// initial is FIPS 180-4, Section 5.3.1.
var initial = hash{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}

func (h *hash) put(b []byte) {
	for i, x := range h {
		binary.BigEndian.PutUint32(b[4*i:], x)
	}
}

// hashes are those of two messages.
type hashes [2]hash

// add goes on with both by whole blocks, p and q, of which one may have more than the other.
func (h *hashes) add(p, q []byte) {
	n := min(len(p), len(q))
	if n > 0 {
		blocks(h, p[:n], q[:n])
	}
	if p = p[n:]; len(p) > 0 {
		h.alone(0, p)
	}
	if q = q[n:]; len(q) > 0 {
		h.alone(1, q)
	}
}

// alone goes on with one of both.
func (h *hashes) alone(i int, p []byte) {
	twice := hashes{h[i], h[i]}
	blocks(&twice, p, p)
	h[i] = twice[0]
}

// blocksGeneric is blocks wherever there are no instructions for it: FIPS 180-4, Section 6.1.2.
func blocksGeneric(h *hashes, p, q []byte) {
	h[0].add(p)
	h[1].add(q)
}

func (h *hash) add(p []byte) {
	var w [80]uint32
	for ; len(p) > 0; p = p[blockSize:] {
		for t := range w {
			if t < 16 {
				w[t] = binary.BigEndian.Uint32(p[4*t:])
			} else {
				w[t] = bits.RotateLeft32(w[t-3]^w[t-8]^w[t-14]^w[t-16], 1)
			}
		}
		a, b, c, d, e := h[0], h[1], h[2], h[3], h[4]
		for t, x := range w {
			switch {
			case t < 20:
				x += (b&c | ^b&d) + 0x5A827999
			case t < 40:
				x += (b ^ c ^ d) + 0x6ED9EBA1
			case t < 60:
				x += (b&c | b&d | c&d) + 0x8F1BBCDC
			default:
				x += (b ^ c ^ d) + 0xCA62C1D6
			}
			a, b, c, d, e = bits.RotateLeft32(a, 5)+x+e, a, bits.RotateLeft32(b, 30), c, d
		}
		h[0], h[1], h[2], h[3], h[4] = h[0]+a, h[1]+b, h[2]+c, h[3]+d, h[4]+e
	}
}
