// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"hash"
	"sync"

	"github.com/sightglass/sightglass/handshake"
)

// DefaultTranscriptLimit is how many raw bytes a Transcript keeps unless told otherwise.
const DefaultTranscriptLimit = 1 << 18

// A Transcript runs the hashes over one handshake's messages: for the Finished messages, the
// session hash of the extended master secret, and CertificateVerify. Until the version is known it
// can only keep the bytes. The zero value is ready for use; it is not safe for concurrent use.
type Transcript struct {
	// Limit is the most raw bytes kept; zero means DefaultTranscriptLimit. Set it before the first
	// Write.
	Limit int

	version  handshake.Version // zero: not known yet
	hash     handshake.Hash
	raw      []byte
	dropped  bool // raw is not all of the transcript
	broken   bool // bytes were lost before the hashes ran: nothing can be told any more
	md5, sha hash.Hash
	main     hash.Hash // TLS 1.2 and 1.3
}

// Write adds a handshake message, its header included. It copies raw.
func (t *Transcript) Write(raw []byte) {
	t.keep(raw)
	if t.version != 0 {
		t.feed(raw)
	}
}

func (t *Transcript) keep(raw []byte) {
	if t.dropped {
		return
	}
	limit := t.Limit
	if limit == 0 {
		limit = DefaultTranscriptLimit
	}
	if len(t.raw)+len(raw) > limit {
		t.raw, t.dropped = nil, true
		t.broken = t.broken || t.version == 0
		return
	}
	if t.raw == nil {
		t.raw = *rawBuffers.Get().(*[]byte)
	}
	t.raw = append(t.raw, raw...)
}

// rawBuffers lend room for the messages of a common handshake.
var rawBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, rawBufferSize)
	return &b
}}

const rawBufferSize = 4 << 10

func (t *Transcript) feed(raw []byte) {
	if t.main != nil {
		t.main.Write(raw)
		return
	}
	t.md5.Write(raw)
	t.sha.Write(raw)
}

// SetVersion starts the hashes, over what was kept so far. The hash counts from TLS 1.2 on. Only the
// first call counts.
func (t *Transcript) SetVersion(v handshake.Version, h handshake.Hash) {
	if t.version != 0 {
		return
	}
	t.version, t.hash = v, h
	if v >= handshake.TLS12 {
		t.main = h.New()
	} else {
		t.md5, t.sha = md5.New(), sha1.New()
	}
	t.feed(t.raw)
}

// Overflow reports whether the handshake outgrew Limit before the version was known, so that every
// hash of it is nil.
func (t *Transcript) Overflow() bool { return t.broken }

// Raw returns all messages, for a CertificateVerify that hashes them in its own way (RFC 5246,
// Section 7.4.8), or nil if they were more than Limit or are released. The slice is the
// transcript's own, and valid until Release.
func (t *Transcript) Raw() []byte {
	if t.dropped {
		return nil
	}
	return t.raw
}

// Release drops the raw bytes and keeps no more of them; the hashes go on. Without a version there
// are none yet, and Release does nothing. What Raw returned is not valid any more.
func (t *Transcript) Release() {
	if t.version == 0 {
		return
	}
	if b := t.raw[:0]; cap(b) == rawBufferSize {
		rawBuffers.Put(&b)
	}
	t.raw, t.dropped = nil, true
}

// Fork returns a transcript that goes on from the hashes so far, without the raw bytes. Before the version is known it
// returns one of which nothing can be told.
func (t *Transcript) Fork() *Transcript {
	f := &Transcript{version: t.version, hash: t.hash, dropped: true, broken: t.broken || t.version == 0}
	for _, h := range [...]struct {
		to   *hash.Hash
		from hash.Hash
	}{{&f.md5, t.md5}, {&f.sha, t.sha}, {&f.main, t.main}} {
		if h.from != nil {
			*h.to = cloneHash(h.from)
		}
	}
	return f
}

// HelloRetryRequest replaces the first ClientHello, which must be all that was written, by its hash
// in a synthetic message (RFC 8446, Section 4.4.1). Call it after SetVersion and before the
// HelloRetryRequest itself is written.
func (t *Transcript) HelloRetryRequest() {
	if t.main == nil {
		return
	}
	sum := t.main.Sum(nil)
	t.main.Reset()
	t.raw = t.raw[:0]
	t.Write(append([]byte{byte(handshake.TypeMessageHash), 0, 0, byte(len(sum))}, sum...))
}

// SessionHash returns the hash of all messages so far as this version's Finished takes it: MD5 and
// SHA-1 one after the other before TLS 1.2, then the suite's hash (RFC 7627, Section 3; RFC 8446,
// Section 4.4.1). It is nil while the version is not known.
func (t *Transcript) SessionHash() []byte {
	if t.broken || t.version == 0 {
		return nil
	}
	if t.main != nil {
		return t.main.Sum(nil)
	}
	return t.sha.Sum(t.md5.Sum(nil))
}

// Finished returns the verify_data that this side's Finished must carry, if it is the next message:
// 36 bytes in SSL 3.0 (RFC 6101, Section 5.6.9), otherwise 12 (RFC 5246, Section 7.4.9). It is nil
// while the version is not known. TLS 1.3 has [Finished13] instead.
func (t *Transcript) Finished(master []byte, side handshake.Side) []byte {
	sum := t.SessionHash()
	if sum == nil {
		return nil
	}
	if t.version <= handshake.SSL30 {
		sender := "CLNT"
		if side == handshake.Server {
			sender = "SRVR"
		}
		return t.ssl3Sum(sender, master)
	}
	label := "client finished"
	if side == handshake.Server {
		label = "server finished"
	}
	verify := make([]byte, 12)
	prfFor(t.version, t.hash)(verify, master, label, sum)
	return verify
}

// CheckFinished reports whether the body of a Finished message is this side's verify_data.
func (t *Transcript) CheckFinished(master []byte, side handshake.Side, body []byte) bool {
	want := t.Finished(master, side)
	return want != nil && hmac.Equal(want, body)
}

// CertificateVerifySSL3 returns the 36 bytes, MD5 then SHA-1, that an SSL 3.0 CertificateVerify
// signs (RFC 6101, Section 5.6.8), or nil in any other version. TLS 1.0 and 1.1 sign SessionHash,
// TLS 1.2 signs Raw. Unlike Write it may be called by several goroutines at once.
func (t *Transcript) CertificateVerifySSL3(master []byte) []byte {
	if t.broken || t.version == 0 || t.version > handshake.SSL30 {
		return nil
	}
	return t.ssl3Sum("", master)
}

// ssl3Sum is hash(master + pad2 + hash(messages + sender + master + pad1)), for MD5 with 48 bytes
// of padding and for SHA-1 with 40 (RFC 6101, Section 5.6.9).
func (t *Transcript) ssl3Sum(sender string, master []byte) []byte {
	sum := ssl3Half(t.md5, md5.New(), 48, sender, master)
	return append(sum, ssl3Half(t.sha, sha1.New(), 40, sender, master)...)
}

func ssl3Half(messages, outer hash.Hash, pad int, sender string, master []byte) []byte {
	inner := cloneHash(messages)
	inner.Write([]byte(sender))
	inner.Write(master)
	inner.Write(bytes.Repeat([]byte{0x36}, pad))
	outer.Write(master)
	outer.Write(bytes.Repeat([]byte{0x5c}, pad))
	outer.Write(inner.Sum(nil))
	return outer.Sum(nil)
}

// cloneHash copies a running hash, which the standard library can always do.
func cloneHash(h hash.Hash) hash.Hash {
	c, err := h.(hash.Cloner).Clone()
	if err != nil {
		panic("rsakex: a standard hash that cannot be cloned: " + err.Error())
	}
	return c
}
