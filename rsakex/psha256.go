// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/sha256"
	"hash"
	"sync"
)

// hmac256 is what pSHA256 works in. It is kept from one derivation to the next, the digest above all: sha256.Sum256
// makes one for each sum as soon as the compiler's profile changes what is inlined there.
type hmac256 struct {
	digest   hash.Hash
	text     [maxText256]byte                     // what is summed first: room for A(i), the key's block, label and seed
	outer    [sha256.BlockSize + sha256.Size]byte // what is summed then: the key's block, and the first sum
	a, block [sha256.Size]byte
}

// maxText256 is more than TLS derives anything from, in bytes.
const maxText256 = 256

var hmacs256 = sync.Pool{New: func() any { return &hmac256{digest: sha256.New()} }}

// wipe forgets what could be told of a secret.
func (m *hmac256) wipe() {
	m.digest.Reset()
	*m = hmac256{digest: m.digest}
}

// sum256 sets dst to the SHA-256 of text.
func (m *hmac256) sum256(dst, text []byte) {
	m.digest.Reset()
	m.digest.Write(text)
	m.digest.Sum(dst[:0])
}

// mac sets dst to the HMAC of what follows the key's block in text.
func (m *hmac256) mac(dst, text []byte) {
	m.sum256(m.outer[sha256.BlockSize:], text)
	m.sum256(dst, m.outer[:])
}

// key puts the key's blocks in place (RFC 2104, Section 2).
func (m *hmac256) key(inner, secret []byte) {
	if len(secret) > sha256.BlockSize {
		m.sum256(m.block[:], secret)
		secret = m.block[:]
	}
	outer := m.outer[:sha256.BlockSize]
	clear(outer)
	copy(outer, secret)
	for i, b := range outer {
		inner[i], outer[i] = b^0x36, b^0x5c
	}
}

// pSHA256 is pHash for the hash that nearly every suite has, without an allocation: each handshake goes
// through it four times.
func pSHA256(out, secret []byte, label string, seed ...[]byte) {
	const head = sha256.BlockSize + sha256.Size
	size := head + len(label)
	for _, part := range seed {
		size += len(part)
	}
	if size > maxText256 {
		pHash(out, sha256.New, secret, label, seed)
		return
	}
	m := hmacs256.Get().(*hmac256)
	defer hmacs256.Put(m)
	defer m.wipe()
	text := m.text[:size]
	n := head + copy(text[head:], label)
	for _, part := range seed {
		n += copy(text[n:], part)
	}
	// The key's block stands right before the label first, and then A(i) between them.
	m.key(text[sha256.Size:head], secret)
	m.mac(m.a[:], text[sha256.Size:]) // A(1)
	copy(text, text[sha256.Size:head])
	for {
		copy(text[sha256.BlockSize:], m.a[:])
		m.mac(m.block[:], text)
		if out = out[copy(out, m.block[:]):]; len(out) == 0 {
			return
		}
		m.mac(m.a[:], text[:head])
	}
}
