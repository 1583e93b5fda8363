// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"sync"

	"github.com/sightglass/sightglass/handshake"
)

// shard is one least-recently-used list with its index.
//
// A store holds 100,000 sessions by default, and a collection of garbage looks at all that has pointers: it took 20 ms with sessions
// of four values each. So the sessions stand in slots without any. What has some is beside them, and that is little: sessions
// whose secret is on its way, and the certificates of clients, once each.
type shard struct {
	mu         sync.Mutex
	index      map[storeKey]place
	slots      []*[slotsAtOnce]slot
	used       place // the first slot that never was
	free       place // a slot that was, and leads to others by next; 0: none
	limit      int
	bytes, max int

	promised map[place]*Session // secret and all; the slot has only the rest of the ring
	settleAt int                // how many of them there are when they are looked through
	proofs   map[place]*SSL3Proof
	chains   chains
}

// place says which slot. The one at ringHead is no session's: its next is the most recently used.
type place int32

const ringHead place = 0

const (
	slotsAtOnce = 64
	// settleFrom is how many promised sessions a shard has at least before it is looked whether their secrets are there.
	settleFrom = 16
)

// slot is a session in a shard, but for what has pointers.
type slot struct {
	key        storeKey
	prev, next place

	opened  KeyID
	leaf    [32]byte
	master  [MasterSecretLen]byte
	version handshake.Version
	suite   uint16
	ems     bool
	proven  bool
	chain   chainNumber
}

// What a session counts for, in bytes, beside its chain and a signature: its place in slot and index, and a transcript.
const (
	slotOverhead  = 256
	proofOverhead = 512
)

// sizeWith is what a session counts for with a proof, or with nil, but for its chain.
func sizeWith(proof *SSL3Proof) int {
	if proof == nil {
		return slotOverhead
	}
	return slotOverhead + proofOverhead + len(proof.Signature)
}

// size is what a session counts for as long as its chain is its own.
func (s *Session) size() int { return sizeWith(s.ClientProof) + chainSize(s.ClientChain) }

func (h *shard) init(limit int) {
	h.index = make(map[storeKey]place)
	h.promised, h.proofs, h.chains = make(map[place]*Session), make(map[place]*SSL3Proof), newChains()
	h.settleAt = settleFrom
	h.limit = limit
	h.max = max(limit*bytesPerEntry, 1<<20)
	h.take() // the head, which is its own neighbour
}

func (h *shard) slot(at place) *slot { return &h.slots[at/slotsAtOnce][at%slotsAtOnce] }

// take returns a slot that is no session's.
func (h *shard) take() place {
	if at := h.free; at != 0 {
		h.free = h.slot(at).next
		return at
	}
	if int(h.used) == len(h.slots)*slotsAtOnce {
		h.slots = append(h.slots, new([slotsAtOnce]slot))
	}
	h.used++
	return h.used - 1
}

func (h *shard) put(k storeKey, session *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replace(k, session)
}

// promise is put, unless there is another session than an earlier one.
func (h *shard) promise(k storeKey, session, earlier *Session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at, ok := h.index[k]; ok && !h.is(at, earlier) {
		return false
	}
	return h.replace(k, session)
}

// replace puts a session in the place of what is there. It returns false if that is beyond all that the shard may hold.
func (h *shard) replace(k storeKey, session *Session) bool {
	if old, ok := h.index[k]; ok {
		h.drop(old)
	}
	size := session.size()
	if size > h.max {
		return false
	}
	at := h.take()
	h.index[k] = at
	h.slot(at).key = k
	h.front(at)
	h.bytes += size
	if !h.settle(at, session) {
		h.promised[at] = session
		h.settlePromised()
	}
	for len(h.index) > h.limit || h.bytes > h.max {
		h.drop(h.slot(ringHead).prev)
	}
	return true
}

// settle puts a session whose secret is there into its slot. It returns false if it is not there, or will never be.
func (h *shard) settle(at place, session *Session) bool {
	if session.Secret == nil {
		return false
	}
	master, err := session.Secret.Master()
	if err != nil || len(master) != MasterSecretLen {
		return false
	}
	s := h.slot(at)
	copy(s.master[:], master)
	s.opened, s.leaf, s.version, s.suite = session.Key, session.ServerLeaf, session.Version, session.Suite
	s.ems, s.proven = session.EMS, session.ClientProven
	if session.ClientProof != nil {
		h.proofs[at] = session.ClientProof
	}
	number, more := h.chains.use(session.ClientChain)
	s.chain = number
	h.bytes += more - chainSize(session.ClientChain)
	return true
}

// settlePromised settles what can be, when there may be as much again as could not be the last time.
func (h *shard) settlePromised() {
	if len(h.promised) < h.settleAt {
		return
	}
	for at, session := range h.promised {
		if h.settle(at, session) {
			delete(h.promised, at)
		}
	}
	h.settleAt = settleFrom + 2*len(h.promised)
}

// session returns the session in a slot.
func (h *shard) session(at place) *Session {
	if session := h.promised[at]; session != nil {
		return session
	}
	var all struct { // one value, not three
		session Session
		secret  Secret
		master  [MasterSecretLen]byte
	}
	s := h.slot(at)
	all.master = s.master
	all.secret.ready, all.secret.master = true, all.master[:]
	all.session = Session{
		Key: s.opened, Secret: &all.secret, Version: s.version, Suite: s.suite, EMS: s.ems,
		ServerLeaf: s.leaf, ClientChain: h.chains.of(s.chain), ClientProven: s.proven, ClientProof: h.proofs[at],
	}
	return &all.session
}

func (h *shard) get(k storeKey) (*Session, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.index[k]
	if !ok {
		return nil, false
	}
	h.unlink(at)
	h.front(at)
	return h.session(at), true
}

// upToDate reports whether what op did is how it still is.
func (h *shard) upToDate(op storeOp) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.index[op.key]
	return ok != op.remove && (op.remove || h.is(at, op.session))
}

// remove forgets the session under k, if that is there.
func (h *shard) remove(k storeKey, session *Session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.index[k]
	if !ok || !h.is(at, session) {
		return false
	}
	h.drop(at)
	return true
}

// forget forgets what is under k.
func (h *shard) forget(k storeKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at, ok := h.index[k]; ok {
		h.drop(at)
	}
}

// is reports whether a session is what stands in a slot.
func (h *shard) is(at place, session *Session) bool {
	if promised := h.promised[at]; promised != nil {
		return promised.Is(session)
	}
	return session != nil && session.Secret.holds(h.slot(at).master[:])
}

func (h *shard) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.index)
}

// oldestFirst returns the shard's sessions, the least recently used first.
func (h *shard) oldestFirst() []storeOp {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]storeOp, 0, len(h.index))
	for at := h.slot(ringHead).prev; at != ringHead; at = h.slot(at).prev {
		all = append(all, storeOp{key: h.slot(at).key, session: h.session(at)})
	}
	return all
}

func (h *shard) front(at place) {
	s, head := h.slot(at), h.slot(ringHead)
	s.prev, s.next = ringHead, head.next
	h.slot(head.next).prev = at
	head.next = at
}

func (h *shard) unlink(at place) {
	s := h.slot(at)
	h.slot(s.prev).next, h.slot(s.next).prev = s.next, s.prev
}

// drop forgets the session in a slot.
func (h *shard) drop(at place) {
	h.unlink(at)
	s := h.slot(at)
	if session := h.promised[at]; session != nil {
		h.bytes -= session.size()
	} else {
		h.bytes -= sizeWith(h.proofs[at]) + h.chains.leave(s.chain)
	}
	delete(h.index, s.key)
	delete(h.promised, at)
	delete(h.proofs, at)
	*s = slot{next: h.free}
	h.free = at
}
