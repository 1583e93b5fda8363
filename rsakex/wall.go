// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"errors"

	"github.com/sightglass/sightglass/handshake"
)

// Why a Secret can fail. None of these depends on what stood in an encrypted premaster secret.
var (
	// ErrOverload says that the queue before the private key was full.
	ErrOverload = errors.New("too many handshakes wait for the private key")
	// ErrNoKey says that the request names a key that is not configured.
	ErrNoKey = errors.New("no such private key")
	// ErrClosed says that the Decrypter was closed.
	ErrClosed = errors.New("the private key is closed")
)

// A Request asks for the master secret of one handshake.
type Request struct {
	Key                KeyID
	Version            handshake.Version // negotiated
	ClientVersion      handshake.Version // of the ClientHello; not checked, see Decrypter
	PRF                handshake.Hash    // counts from TLS 1.2 on
	EncryptedPremaster []byte            // from the ClientKeyExchange
	Client, Server     handshake.Random
	SessionHash        []byte // set: the extended master secret (RFC 7627); nil: the classic one
}

// Master derives the master secret that the request asks for from an opened premaster secret. Key
// logs hold such premasters.
func (q *Request) Master(premaster []byte) []byte {
	if q.SessionHash != nil {
		if m := ExtendedMasterSecret(q.Version, q.PRF, premaster, q.SessionHash); m != nil {
			return m
		}
	}
	return MasterSecret(q.Version, q.PRF, premaster, q.Client, q.Server)
}

// A Decrypter is the wall around the private key: a ClientKeyExchange goes in, a master secret comes
// out, when it is ready. It is safe for concurrent use. It may keep what it was given, which must not
// change any more.
//
// Whether the premaster's PKCS #1 padding, its length or the version in it was right must not show,
// neither in the answer nor in its time (RFC 5246, Section 7.4.7.1). So there is always a secret: a
// premaster that was not well-formed is replaced by a random one, and only the Finished check
// tells. The version bytes are not compared at all: nothing is derived from them but the master
// secret, a peer that minds them breaks the connection itself, and some clients sent the wrong ones.
type Decrypter interface {
	MasterSecret(Request) *Secret
}

// Local opens premaster secrets in this process, on the caller's goroutine.
type Local struct{ ring *Ring }

// NewLocal returns a Decrypter whose secrets are ready at once, for feeds that may wait.
func NewLocal(ring *Ring) *Local { return &Local{ring} }

// MasterSecret returns a secret that is ready.
func (l *Local) MasterSecret(q Request) *Secret {
	master, err := l.ring.open(&q, nil)
	if err != nil {
		return Failed(err)
	}
	return Resolved(master)
}

// open is where a request meets the private key, but for openBatch. It calls pause, unless that is nil, in between.
func (r *Ring) open(q *Request, pause func()) ([]byte, error) {
	key := r.key(q.Key)
	if key == nil {
		return nil, ErrNoKey
	}
	premaster := key.premaster(q.EncryptedPremaster, pause)
	return q.Master(premaster[:]), nil
}

// inBatch reports whether openBatch takes requests for the key.
func (r *Ring) inBatch(id KeyID) bool {
	key := r.key(id)
	return key != nil && key.fast != nil
}

// Interruptible reports whether all of the ring's private operations are: an [Idle] takes them, and they need no worker.
func (r *Ring) Interruptible() bool {
	for _, id := range r.Keys() {
		if !r.inBatch(id) {
			return false
		}
	}
	return true
}

// openBatch opens up to maxBatch requests side by side: each gets what it does from open. It calls pause
// as that does.
func (r *Ring) openBatch(b *fastBatch, qs []*Request, pause func()) (masters [maxBatch][]byte) {
	var all [maxBatch]sealed
	var keys [maxBatch]*fastKey
	var ems [maxBatch][]byte
	for i, q := range qs {
		key := r.key(q.Key)
		all[i] = key.sealed(q.EncryptedPremaster)
		keys[i], ems[i] = key.fast, all[i].em[:]
	}
	b.decrypt(keys[:len(qs)], ems[:len(qs)], pause)
	for i, q := range qs {
		premaster := all[i].open()
		masters[i] = q.Master(premaster[:])
	}
	return masters
}
