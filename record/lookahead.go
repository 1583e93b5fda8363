// SPDX-License-Identifier: Apache-2.0

package record

import (
	"sync"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record/internal/sha1x2"
)

// lookahead computes the MACs of two records at once, which takes little longer than one MAC, and keeps what it
// found of the second until that is opened. It is a memory and nothing else: what is kept depends on no more than the
// keys, the record, the sequence number and the IV, and counts only if the second record is opened with just these.
type lookahead struct {
	two  *sha1x2.Key // nil: there is no gain
	rest []byte      // what comes after the record that is opened next
	kept *ahead      // nil: none since rest was last at its end
}

// ahead is a record that was looked at together with the one before it, as far as its MAC.
type ahead struct {
	rec []byte // known by its place; nil: none
	seq uint64
	iv  [maxBlockLen]byte // that it is chained to

	parts
	mac [sha1x2.Size]byte
	buf [handshake.MaxCiphertext]byte // its plaintext
}

var aheads = sync.Pool{New: func() any { return new(ahead) }}

func newLookahead(p Params, k Keys) lookahead {
	if !sha1x2.Fast() || p.Suite.MAC != handshake.MACSHA1 || p.Version == handshake.SSL30 {
		return lookahead{}
	}
	return lookahead{two: sha1x2.NewKey(k.MAC)}
}

func (l *lookahead) follow(rest []byte) {
	if l.two == nil {
		return
	}
	l.rest = rest
	if rest == nil && l.kept != nil {
		l.kept.rec, l.kept.parts = nil, parts{}
		aheads.Put(l.kept)
		l.kept = nil
	}
}

// recall returns what is known of a record, and forgets what is known of others.
func (l *lookahead) recall(rec []byte, iv [maxBlockLen]byte, s search) *ahead {
	a := l.kept
	if a == nil || len(a.rec) == 0 {
		return nil
	}
	same := len(rec) == len(a.rec) && &rec[0] == &a.rec[0]
	a.rec = nil
	if !same || a.iv != iv || a.seq != s.from || s.window != 1 {
		return nil
	}
	return a
}

// lookAhead computes the MAC of rec, which has begun with p, together with that of the record at the head of rest, and
// keeps the latter. It does nothing if there is no such record, or not much of a gain.
func (c *cbcOpening) lookAhead(rec []byte, p parts, rest []byte, s search) (mac [sha1x2.Size]byte, ok bool) {
	next := firstRecord(rest)
	if len(next) < len(rec)/4 || len(rec) < len(next)/4 || s.window != 1 || c.two == nil {
		return mac, false
	}
	if c.kept == nil {
		c.kept = aheads.Get().(*ahead)
	}
	a := c.kept
	if a.iv = c.iv; c.chained {
		copy(a.iv[:], p.ciphertext[len(p.ciphertext)-c.size:])
	}
	if a.parts, ok = c.split(next[handshake.RecordHeaderLen:], a.iv[:c.size]); !ok {
		return mac, false
	}
	if a.parts, ok = c.begin(a.buf[:], a.parts); !ok {
		return mac, false
	}
	a.rec, a.seq = next, s.from+1
	head, headNext := macHead(s.from, rec, len(p.payload)), macHead(a.seq, next, len(a.payload))
	macs := c.two.Sum(sha1x2.Message{Head: head[:], Body: p.payload}, sha1x2.Message{Head: headNext[:], Body: a.payload})
	a.mac = macs[1]
	return macs[0], true
}

// firstRecord returns the record at the head of b if it is whole and not too long, else nil.
func firstRecord(b []byte) []byte {
	if len(b) < handshake.RecordHeaderLen {
		return nil
	}
	n := int(b[3])<<8 | int(b[4])
	if n > handshake.MaxCiphertext || n > len(b)-handshake.RecordHeaderLen {
		return nil
	}
	return b[:handshake.RecordHeaderLen+n]
}
