// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/sha256"

	"github.com/sightglass/sightglass/handshake"
)

// DefaultStoreLimit is how many sessions a Store keeps unless told otherwise.
const DefaultStoreLimit = 100_000

// Kind says by what a session is resumed.
type Kind uint8

// The kinds of resumption.
const (
	ByID     Kind = 1 + iota // a session ID (RFC 5246, Section 7.4.1.2)
	ByTicket                 // a session ticket (RFC 5077)
)

// Session is what must be known to read a session that is resumed. It must not be modified once it
// is in a Store, nor may what a Store returns, which may be another value of what [Session.Is] the same.
type Session struct {
	Key     KeyID // the private key that opened it; zero: none did, and it is never written to a file
	Secret  *Secret
	Version handshake.Version
	Suite   uint16
	EMS     bool // extended master secret (RFC 7627)
	// Who the peers were, which an abbreviated handshake does not repeat.
	ServerLeaf   [32]byte // SHA-256 of the server's certificate; zero: not known
	ClientChain  [][]byte // DER, leaf first; nil: none. It counts towards the store's memory.
	ClientProven bool
	ClientProof  *SSL3Proof // by which the client may yet be proven; nil: none. It is never written to a file.
}

// SSL3Proof is a client's CertificateVerify of SSL 3.0. It signs the master secret, too (RFC 6101, Section 5.6.8), and
// cannot be checked before that is there.
type SSL3Proof struct {
	Transcript *Transcript // before the CertificateVerify
	Signature  []byte
}

// Is reports whether two are the same session: they have the same master secret, or wait for the same one.
func (s *Session) Is(other *Session) bool {
	return s == other || s != nil && other != nil && s.Secret.is(other.Secret)
}

const (
	// bytesPerEntry bounds the memory of a store: this for each session of its limit. Client
	// chains beyond it push out old sessions early.
	bytesPerEntry = 1024
	// shardedFrom is the limit from which a store is cut into shards.
	shardedFrom = 4096
	numShards   = 16
)

// Store keeps the secrets of sessions that may be resumed: the most recently used, up to a limit.
// It is safe for concurrent use. Sessions are found by SHA-256 of kind and session ID or ticket; an
// ID that two servers happen to choose means the later session, and the Finished check tells.
type Store struct {
	shards []shard
	file   *storeFile // nil: in memory only
}

type storeKey [sha256.Size]byte

// NewStore returns a store for up to limit sessions; zero or less means DefaultStoreLimit.
func NewStore(limit int) *Store {
	if limit <= 0 {
		limit = DefaultStoreLimit
	}
	n := 1
	if limit >= shardedFrom {
		n = numShards
	}
	s := &Store{shards: make([]shard, n)}
	for i := range s.shards {
		share := limit / n
		if i < limit%n {
			share++
		}
		s.shards[i].init(share)
	}
	return s
}

func keyOf(kind Kind, id []byte) storeKey {
	var room [256]byte // more than most tickets
	return sha256.Sum256(append(append(room[:0], byte(kind)), id...))
}

func (s *Store) shard(k storeKey) *shard { return &s.shards[int(k[0])%len(s.shards)] }

// Put keeps a session under an ID or ticket, in the place of what was there. The Secret need not be
// ready. An empty id is ignored, and so is a session larger than all that there is room for.
func (s *Store) Put(kind Kind, id []byte, session *Session) {
	if len(id) == 0 {
		return
	}
	k := keyOf(kind, id)
	s.shard(k).put(k, session)
	s.write(k, session)
}

// Promise keeps a session in the place of nothing, or of an earlier one, which may be nil, and reports whether it did.
func (s *Store) Promise(kind Kind, id []byte, session, earlier *Session) bool {
	if len(id) == 0 {
		return false
	}
	k := keyOf(kind, id)
	if !s.shard(k).promise(k, session, earlier) {
		return false
	}
	s.write(k, session)
	return true
}

func (s *Store) write(k storeKey, session *Session) {
	if s.file != nil {
		s.file.put(k, session)
	}
}

// Get returns the session of this ID or ticket, and makes it the most recently used.
func (s *Store) Get(kind Kind, id []byte) (*Session, bool) {
	if len(id) == 0 {
		return nil, false
	}
	k := keyOf(kind, id)
	return s.shard(k).get(k)
}

// Remove forgets a session, if it is what the ID or ticket leads to.
func (s *Store) Remove(kind Kind, id []byte, session *Session) {
	k := keyOf(kind, id)
	if s.shard(k).remove(k, session) && s.file != nil {
		s.file.remove(k, session)
	}
}

// Len returns how many sessions are kept.
func (s *Store) Len() int {
	n := 0
	for i := range s.shards {
		n += s.shards[i].len()
	}
	return n
}

// Close flushes and closes the file of a store that has one, and reports whether all of it was
// written. The store in memory goes on.
func (s *Store) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.close()
}
