// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

func testSession(n int) *Session {
	master := make([]byte, MasterSecretLen)
	binary.BigEndian.PutUint64(master, uint64(n)+1)
	return &Session{Secret: Resolved(master), Version: handshake.TLS12, Suite: uint16(n)}
}

func id(n int) []byte { return fmt.Appendf(nil, "session %d", n) }

// remove forgets whatever an ID leads to.
func remove(s *Store, n int) {
	session, _ := s.Get(ByID, id(n))
	s.Remove(ByID, id(n), session)
}

func TestStore(t *testing.T) {
	s := NewStore(3)
	for i := range 3 {
		s.Put(ByID, id(i), testSession(i))
	}
	if got, ok := s.Get(ByID, id(0)); !ok || got.Suite != 0 { // 1 is now the oldest
		t.Fatal("session 0 is lost")
	}
	if _, ok := s.Get(ByTicket, id(0)); ok {
		t.Error("a ticket finds what was put by ID")
	}
	s.Put(ByID, id(3), testSession(3))
	for i, want := range []bool{true, false, true, true} {
		if _, ok := s.Get(ByID, id(i)); ok != want {
			t.Errorf("session %d: %v", i, ok)
		}
	}
	s.Put(ByID, id(3), testSession(33))
	if got, _ := s.Get(ByID, id(3)); got.Suite != 33 || s.Len() != 3 {
		t.Error("not replaced")
	}
	remove(s, 3)
	remove(s, 99)
	if _, ok := s.Get(ByID, id(3)); ok || s.Len() != 2 {
		t.Error("not removed")
	}
	s.Remove(ByID, id(0), testSession(9))
	if _, ok := s.Get(ByID, id(0)); !ok {
		t.Error("another session was removed")
	}
	s.Put(ByID, nil, testSession(1))
	if _, ok := s.Get(ByID, nil); ok || s.Len() != 2 {
		t.Error("the empty ID was kept")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A promise takes the place of nothing, or of an earlier promise of the same handshake.
func TestStorePromise(t *testing.T) {
	s := NewStore(0)
	secret, settle := NewSecret()
	first := &Session{Secret: secret, Suite: 1}
	if !s.Promise(ByID, id(1), first, nil) || s.Promise(ByID, id(1), testSession(2), nil) || s.Promise(ByID, id(1), testSession(2), testSession(3)) {
		t.Fatal("not kept, or another's place was taken")
	}
	if !s.Promise(ByID, id(1), &Session{Secret: secret, Suite: 2}, first) {
		t.Fatal("not in the place of the earlier one")
	}
	master := make([]byte, MasterSecretLen)
	settle(master, nil)
	for i := range 2 * settleFrom { // now the secret is in its slot
		pending, _ := NewSecret()
		s.shard(keyOf(ByID, id(1))).promise(storeKey{byte(i)}, &Session{Secret: pending}, nil)
	}
	if s.Promise(ByID, id(1), testSession(2), nil) || !s.Promise(ByID, id(1), &Session{Secret: Resolved(master), Suite: 3}, first) {
		t.Error("settled: another's place was taken, or not that of the earlier one")
	}
	if got, _ := s.Get(ByID, id(1)); got.Suite != 3 {
		t.Errorf("%+v", got)
	}
	if s.Promise(ByID, nil, first, nil) {
		t.Error("kept under no ID")
	}
}

// A session may be found while its secret is on its way.
func TestStoreHoldsFutures(t *testing.T) {
	s := NewStore(0)
	secret, settle := NewSecret()
	s.Put(ByTicket, id(1), &Session{Secret: secret})
	got, ok := s.Get(ByTicket, id(1))
	if !ok || got.Secret.Ready() {
		t.Fatal("not there, or ready")
	}
	settle([]byte("m"), nil)
	if !got.Secret.Ready() {
		t.Error("not ready")
	}
}

// However large the chains and however many the sessions, the limits hold.
func TestStoreBounds(t *testing.T) {
	for _, limit := range []int{1, 7, shardedFrom - 1, shardedFrom, shardedFrom + 5} {
		s := NewStore(limit)
		for i := range 2 * limit {
			s.Put(ByID, id(i), testSession(i))
			if i%100 == 0 && s.Len() > limit {
				t.Fatalf("limit %d: %d sessions", limit, s.Len())
			}
		}
		if s.Len() > limit || s.Len() < limit*8/10 {
			t.Errorf("limit %d: %d sessions after twice as many", limit, s.Len())
		}
	}
	s := NewStore(1000)
	for i := range 1000 {
		session := testSession(i)
		session.ClientChain = [][]byte{binary.BigEndian.AppendUint32(make([]byte, 100<<10), uint32(i))}
		s.Put(ByID, id(i), session)
	}
	if n := s.Len(); n == 0 || n*(100<<10) > 1000*bytesPerEntry+1<<20 {
		t.Errorf("%d sessions with 100 KiB each", n)
	}
	for i := range 1000 {
		session := testSession(i)
		session.ClientChain = [][]byte{make([]byte, 100<<10)}
		s.Put(ByID, id(i), session)
	}
	if n := s.Len(); n != 1000 {
		t.Errorf("%d sessions of one client of 1000", n)
	}
	huge := testSession(1)
	huge.ClientChain = [][]byte{make([]byte, 16<<20)}
	kept := s.Len()
	s.Put(ByID, id(999), huge)
	if _, ok := s.Get(ByID, id(999)); ok || s.Len() != kept-1 {
		t.Errorf("a session beyond the whole bound: kept %v, and %d others of %d", ok, s.Len(), kept-1)
	}
	if s.Promise(ByID, id(999), huge, nil) {
		t.Error("a session beyond the whole bound was promised")
	}
	for i := range 1000 {
		remove(s, i)
	}
	if h := &s.shards[0]; s.Len() != 0 || h.bytes != 0 || h.slot(ringHead).next != ringHead {
		t.Errorf("%d sessions, of %d bytes, when all were removed", s.Len(), h.bytes)
	}
}

func TestStoreConcurrent(t *testing.T) {
	s := NewStore(shardedFrom)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				s.Put(ByID, id(i), testSession(i))
				if got, ok := s.Get(ByID, id(i/2)); ok && got.Suite != uint16(i/2) {
					t.Error("another's session")
				}
				if i%7 == g {
					remove(s, i)
				}
			}
		})
	}
	wg.Wait()
}

// TestSlotsHaveNoPointers: a collection of garbage need not look at them.
func TestSlotsHaveNoPointers(t *testing.T) {
	for i := range reflect.TypeFor[slot]().NumField() {
		f := reflect.TypeFor[slot]().Field(i)
		k := f.Type.Kind()
		if k == reflect.Array {
			k = f.Type.Elem().Kind()
		}
		if k > reflect.Float64 {
			t.Errorf("%s is a %v", f.Name, f.Type)
		}
	}
}

// TestStoreSettles: what is put before its secret is there goes where all else is when it is, whole, and what is dropped leaves nothing.
func TestStoreSettles(t *testing.T) {
	s := NewStore(300)
	h := &s.shards[0]
	whole := func(n int) (*Session, func([]byte, error)) {
		secret, settle := NewSecret()
		session := &Session{
			Key: KeyID{byte(n)}, Secret: secret, Version: handshake.TLS12, Suite: uint16(n), EMS: n%2 == 0,
			ServerLeaf: [32]byte{1, byte(n)}, ClientProven: n%3 == 0,
		}
		if n%5 == 0 {
			session.ClientChain = [][]byte{{byte(n % 4)}, {2}}
		}
		if n%7 == 0 {
			session.ClientProof = &SSL3Proof{Signature: []byte{byte(n)}}
		}
		return session, settle
	}
	var sessions []*Session
	for n := range 600 {
		session, settle := whole(n)
		sessions = append(sessions, session)
		s.Put(ByID, id(n), session)
		switch {
		case n%50 == 49:
			settle(nil, ErrOverload)
		case n%50 != 48: // that one is never settled
			master := make([]byte, MasterSecretLen)
			binary.BigEndian.PutUint64(master, uint64(n)+1)
			settle(master, nil)
		}
	}
	if n := len(h.promised); n > 2*settleFrom+2*2*300/50 {
		t.Errorf("%d sessions of 300 are not settled", n)
	}
	for n := 300; n < 600; n++ {
		want := sessions[n]
		got, ok := s.Get(ByID, id(n))
		if !ok || !got.Is(want) || got.Is(sessions[n-1]) || got.Is(nil) {
			t.Fatalf("session %d: %v, %+v", n, ok, got)
		}
		same := *got
		same.Secret = want.Secret
		if !reflect.DeepEqual(&same, want) {
			t.Errorf("session %d: %+v, want %+v", n, got, want)
		}
	}
	for n := range 600 {
		remove(s, n)
	}
	if len(h.promised)+len(h.proofs)+len(h.index)+len(h.chains.numbers) > 0 || h.bytes != 0 {
		t.Errorf("%d promised, %d proofs, %d in the index, %d chains, %d bytes are left",
			len(h.promised), len(h.proofs), len(h.index), len(h.chains.numbers), h.bytes)
	}
	for at := place(1); at < h.used; at++ {
		left := *h.slot(at)
		if left.next = 0; left != (slot{}) {
			t.Fatalf("slot %d is not empty", at)
		}
	}
	if h.used > 302 {
		t.Errorf("%d slots for 300 sessions", h.used)
	}
}

// BenchmarkCollection is what a collection of garbage takes with a full store, of clients without certificates, with one each, and of 1,000 clients.
func BenchmarkCollection(b *testing.B) {
	for _, client := range []struct {
		name    string
		der     int // bytes
		clients int
	}{{"anonymous", 0, 0}, {"a_client_each", 600, DefaultStoreLimit}, {"1000_clients", 1200, 1000}} {
		b.Run(client.name, func(b *testing.B) {
			s := NewStore(0)
			for i := range DefaultStoreLimit {
				session := testSession(i)
				if client.der > 0 {
					der := make([]byte, client.der)
					binary.BigEndian.PutUint32(der, uint32(i%client.clients))
					session.ClientChain = [][]byte{der}
				}
				s.Put(ByID, id(i), session)
			}
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			for b.Loop() {
				runtime.GC()
			}
			n := float64(s.Len())
			b.ReportMetric(float64(m.HeapAlloc)/n, "B/session")
			b.ReportMetric(float64(m.HeapObjects)/n, "values/session")
		})
	}
}

// FuzzStore holds the store against a plain model of it.
func FuzzStore(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0x40, 0x81, 0x04}, uint8(2))
	f.Add([]byte{0x20, 0x31, 0x72, 0x90, 0x91, 0x31, 0x92, 0xc1, 0x81}, uint8(3))
	f.Fuzz(func(t *testing.T, ops []byte, limit uint8) {
		n := int(limit%8) + 1
		s := NewStore(n)
		var order []int // oldest first
		values := make(map[int]*Session)
		var promises []func() // each settles a secret
		forget := func(k int) {
			for i, o := range order {
				if o == k {
					order = append(order[:i], order[i+1:]...)
					break
				}
			}
		}
		for _, op := range ops {
			k := int(op & 0x0f)
			switch op >> 6 {
			case 0, 1:
				session := testSession(k)
				if op&0x20 != 0 {
					master := mustMaster(t, session.Secret)
					var settle func([]byte, error)
					session.Secret, settle = NewSecret()
					promises = append(promises, func() { settle(master, nil) })
				}
				if op&0x10 != 0 {
					session.ClientChain = [][]byte{id(k % 3)}
				}
				s.Put(ByID, id(k), session)
				forget(k)
				order, values[k] = append(order, k), session
				if len(order) > n {
					delete(values, order[0])
					order = order[1:]
				}
			case 2:
				if op&0x10 != 0 && len(promises) > 0 {
					promises[0]()
					promises = promises[1:]
				}
				got, ok := s.Get(ByID, id(k))
				want := values[k]
				if ok != (want != nil) || ok && !got.Is(want) {
					t.Fatalf("Get(%d): %v", k, ok)
				}
				if ok {
					if !reflect.DeepEqual(got.ClientChain, want.ClientChain) || got.Suite != want.Suite {
						t.Fatalf("Get(%d): %+v, want %+v", k, got, want)
					}
					forget(k)
					order = append(order, k)
				}
			case 3:
				remove(s, k)
				forget(k)
				delete(values, k)
			}
			if s.Len() != len(values) {
				t.Fatalf("%d sessions, want %d", s.Len(), len(values))
			}
		}
	})
}
