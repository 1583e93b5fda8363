// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"encoding/binary"
	"fmt"
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
	s.Remove(ByID, id(3))
	s.Remove(ByID, id(99))
	if _, ok := s.Get(ByID, id(3)); ok || s.Len() != 2 {
		t.Error("not removed")
	}
	s.Put(ByID, nil, testSession(1))
	if _, ok := s.Get(ByID, nil); ok || s.Len() != 2 {
		t.Error("the empty ID was kept")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
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
	chain := [][]byte{make([]byte, 100<<10)}
	for i := range 1000 {
		session := testSession(i)
		session.ClientChain = chain
		s.Put(ByID, id(i), session)
	}
	if n := s.Len(); n == 0 || n*(100<<10) > 1000*bytesPerEntry+1<<20 {
		t.Errorf("%d sessions with 100 KiB each", n)
	}
	huge := testSession(1)
	huge.ClientChain = [][]byte{make([]byte, 16<<20)}
	s.Put(ByID, id(1), huge)
	if h := &s.shards[0]; s.Len() != 0 || h.bytes != 0 || h.head.next != &h.head {
		t.Error("a session beyond the whole bound was kept")
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
					s.Remove(ByID, id(i))
				}
			}
		})
	}
	wg.Wait()
}

// FuzzStore holds the store against a plain model of it.
func FuzzStore(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0x40, 0x81, 0x04}, uint8(2))
	f.Fuzz(func(t *testing.T, ops []byte, limit uint8) {
		n := int(limit%8) + 1
		s := NewStore(n)
		var order []int // oldest first
		values := make(map[int]*Session)
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
				s.Put(ByID, id(k), session)
				forget(k)
				order, values[k] = append(order, k), session
				if len(order) > n {
					delete(values, order[0])
					order = order[1:]
				}
			case 2:
				got, ok := s.Get(ByID, id(k))
				if want := values[k]; got != want || ok != (want != nil) {
					t.Fatalf("Get(%d): %v", k, ok)
				}
				if ok {
					forget(k)
					order = append(order, k)
				}
			case 3:
				s.Remove(ByID, id(k))
				forget(k)
				delete(values, k)
			}
			if s.Len() != len(values) {
				t.Fatalf("%d sessions, want %d", s.Len(), len(values))
			}
		}
	})
}
