// SPDX-License-Identifier: Apache-2.0

package record

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"

	"github.com/sightglass/sightglass/handshake"
)

// maxBlockLen is the longest block of the ciphers, in bytes.
const maxBlockLen = 16

// cbc is what opening and sealing have in common.
type cbc struct {
	mac     *recordMAC
	size    int  // of a block
	ssl30   bool // the padding's content is free
	chained bool // the IV is the last block of the record before
	etm     bool // RFC 7366
	lost    bool // the chained IV is not known
	iv      [maxBlockLen]byte
}

func newCBCState(p Params, k Keys) cbc {
	c := cbc{
		mac:     newRecordMAC(p.Version, p.Suite.MAC, k.MAC),
		size:    p.Suite.Cipher.Params().BlockLen,
		ssl30:   p.Version == handshake.SSL30,
		chained: chained(p.Version),
		etm:     p.EncryptThenMAC,
	}
	if c.chained {
		copy(c.iv[:c.size], k.IV)
	}
	return c
}

// chain notes the last block of a ciphertext as the next IV.
func (c *cbc) chain(ciphertext []byte) {
	if c.chained {
		copy(c.iv[:], ciphertext[len(ciphertext)-c.size:])
		c.lost = false
	}
}

type cbcOpening struct {
	cbc
	decrypter cbcDecrypter
	lookahead
}

func newCBCOpening(p Params, k Keys) (*cbcOpening, error) {
	d, err := newCBCDecrypter(p.Suite.Cipher, k.Key)
	return &cbcOpening{newCBCState(p, k), d, newLookahead(p, k)}, err
}

func (c *cbcOpening) open(buf, rec, b []byte, s search) ([]byte, uint64, error) {
	known, rest := c.recall(rec, c.iv, s), c.rest
	c.rest = nil
	p, ok := c.split(b, c.iv[:c.size])
	if !ok {
		return nil, 0, ErrMalformed
	}
	if c.lost {
		c.chain(p.ciphertext)
		return nil, 0, ErrIVLost
	}
	seq := s.from
	if known != nil {
		p = known.parts
		ok = subtle.ConstantTimeCompare(known.mac[:], p.tag) == 1
	} else if p, ok = c.begin(buf, p); !ok {
		return nil, 0, ErrMAC
	} else if mac, two := c.lookAhead(rec, p, rest, s); two {
		ok = subtle.ConstantTimeCompare(mac[:], p.tag) == 1
	} else {
		seq, ok = c.mac.find(s.from, s.window, rec, p.payload, p.tag)
	}
	if !ok {
		return nil, 0, ErrMAC
	}
	plaintext := p.payload
	if c.etm {
		// Nothing is decrypted before the MAC is right (RFC 7366, Section 3).
		if plaintext, ok = c.decrypt(buf, p); !ok {
			return nil, 0, ErrMAC
		}
	}
	c.chain(p.ciphertext)
	return plaintext, seq, nil
}

// parts are those of a record. Payload is what the MAC is of, and tag is the MAC: they are encrypted, and not known
// before begin, unless the tag stands outside the ciphertext.
type parts struct{ iv, ciphertext, payload, tag []byte }

// split takes a record's body apart. Without an IV of its own it is chained to iv.
func (c *cbcOpening) split(b, iv []byte) (p parts, ok bool) {
	least := 1 // the length of the padding
	if c.etm {
		n := len(b) - c.mac.size
		if n < 0 {
			return parts{}, false
		}
		b, p.payload, p.tag = b[:n], b[:n], b[n:]
	} else {
		least += c.mac.size
	}
	if !c.chained {
		if len(b) < c.size {
			return parts{}, false
		}
		iv, b = b[:c.size], b[c.size:] // RFC 4346, Section 6.2.3.2
	}
	p.iv, p.ciphertext = iv, b
	return p, len(b) >= least && len(b)%c.size == 0
}

// begin does what comes before the MAC: unless it stands outside, a record is decrypted, to buf.
func (c *cbcOpening) begin(buf []byte, p parts) (parts, bool) {
	if c.etm {
		return p, true
	}
	plaintext, ok := c.decrypt(buf, p)
	n := len(plaintext) - c.mac.size
	if !ok || n < 0 {
		return p, false
	}
	p.payload, p.tag = plaintext[:n], plaintext[n:]
	return p, true
}

func (c *cbcOpening) decrypt(buf []byte, p parts) ([]byte, bool) {
	plaintext := room(buf, len(p.ciphertext))
	c.decrypter.Decrypt(plaintext, p.ciphertext, p.iv)
	return c.unpad(plaintext)
}

// unpad takes the padding off. No time is hidden here: nothing that a peer can see depends on it.
func (c *cbcOpening) unpad(b []byte) ([]byte, bool) {
	p := int(b[len(b)-1])
	if c.ssl30 {
		// RFC 6101, Section 5.2.3.2: less than a block, of any content.
		return b[:max(len(b)-p-1, 0)], p < c.size
	}
	if p >= len(b) {
		return nil, false
	}
	rest := b[:len(b)-p-1]
	for _, x := range b[len(rest):] {
		if int(x) != p { // RFC 5246, Section 6.2.3.2
			return nil, false
		}
	}
	return rest, true
}

func (c *cbcOpening) lose(int) { c.lost = c.chained }

func (c *cbcOpening) preceded(b []byte) {
	if c.etm {
		b = b[:max(len(b)-c.mac.size, 0)]
	}
	if len(b) >= c.size {
		c.chain(b)
	}
}

func (c *cbcOpening) resume(o opening) {
	from := o.(*cbcOpening)
	c.iv, c.lost = from.iv, from.lost
}

type cbcSealing struct {
	cbc
	block cipher.Block
}

func newCBCSealing(p Params, k Keys) (*cbcSealing, error) {
	block, err := newBlock(p.Suite.Cipher, k.Key)
	return &cbcSealing{newCBCState(p, k), block}, err
}

func (c *cbcSealing) seal(dst []byte, head recordHead, seq uint64, fragment []byte) ([]byte, error) {
	if c.lost {
		return nil, ErrIVLost
	}
	content, outside := len(fragment), 0
	if c.etm {
		outside = c.mac.size
	} else {
		content += c.mac.size
	}
	padded := content + c.size - content%c.size
	inside := padded // IV and ciphertext
	if !c.chained {
		inside += c.size
	}
	start := len(dst)
	dst = head.append(dst, inside+outside)
	rec := dst[start:]
	iv := c.iv[:c.size]
	if !c.chained {
		dst = append(dst, make([]byte, c.size)...)
		iv = dst[len(dst)-c.size:]
		rand.Read(iv)
	}
	dst = append(dst, fragment...)
	if !c.etm {
		dst = append(dst, c.mac.compute(seq, rec, fragment)...)
	}
	for range padded - content {
		dst = append(dst, byte(padded-content-1))
	}
	ciphertext := dst[len(dst)-padded:]
	cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(ciphertext, ciphertext)
	c.chain(ciphertext)
	if c.etm {
		dst = append(dst, c.mac.compute(seq, rec, dst[len(dst)-inside:])...)
	}
	return dst, nil
}

func (c *cbcSealing) resume(o opening) {
	from := o.(*cbcOpening)
	c.iv, c.lost = from.iv, from.lost
}
