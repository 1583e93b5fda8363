// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"testing"
)

// await returns when the secret is ready.
func await(s *Secret) {
	ready := make(chan struct{})
	s.Then(func() { close(ready) })
	<-ready
}

func TestPool(t *testing.T) {
	key := key512(t)
	ring := ringOf(t, key)
	pool := NewPool(ring, 0, 0)
	defer pool.Close()
	encrypted := seal(t, key, testPremaster())
	q := testRequest(ring.Keys()[0], encrypted)
	want := mustMaster(t, NewLocal(ring).MasterSecret(q))
	s := pool.MasterSecret(q)
	clear(encrypted) // the pool has its own copy
	await(s)
	if !bytes.Equal(mustMaster(t, s), want) {
		t.Error("another master secret")
	}
	s = pool.MasterSecret(testRequest(KeyID{}, nil))
	await(s)
	if _, err := s.Master(); !errors.Is(err, ErrNoKey) {
		t.Errorf("error %v", err)
	}
}

func started(s *Secret) *Secret {
	s.Start()
	return s
}

// A secret that nobody starts costs the private key nothing.
func TestPoolStartsNothingUnasked(t *testing.T) {
	pool, q, release := blockedPool(t, 1)
	defer pool.Close()
	defer release()
	s := pool.MasterSecret(q)
	if _, err := s.Master(); pool.Waiting() != 0 || !errors.Is(err, ErrPending) {
		t.Fatalf("%d wait, error %v", pool.Waiting(), err)
	}
	s.Start()
	s.Start() // again
	if pool.Waiting() != 1 {
		t.Fatalf("%d wait, want 1", pool.Waiting())
	}
}

// blockedPool returns a pool whose single worker waits in a callback until release is called.
func blockedPool(t *testing.T, queue int) (pool *Pool, q Request, release func()) {
	key := key512(t)
	ring := ringOf(t, key)
	pool = NewPool(ring, 1, queue)
	q = testRequest(ring.Keys()[0], seal(t, key, testPremaster()))
	entered, gate := make(chan struct{}), make(chan struct{})
	// The job is sent with its callback already there, so that it runs on the worker.
	s, settle := NewSecret()
	s.Then(func() { close(entered); <-gate })
	pool.queue <- job{q, settle}
	<-entered
	return pool, q, func() { close(gate) }
}

func TestPoolOverload(t *testing.T) {
	pool, q, release := blockedPool(t, 3)
	var queued []*Secret
	for range 3 {
		queued = append(queued, started(pool.MasterSecret(q)))
	}
	if pool.Waiting() != 3 {
		t.Errorf("%d wait", pool.Waiting())
	}
	over := started(pool.MasterSecret(q))
	if _, err := over.Master(); !errors.Is(err, ErrOverload) {
		t.Errorf("error %v, want ErrOverload", err)
	}
	release()
	for _, s := range queued {
		await(s)
		mustMaster(t, s)
	}
	pool.Close()
}

// Close answers what waits with an error, and leaves no goroutine.
func TestPoolClose(t *testing.T) {
	before := runtime.NumGoroutine()
	pool, q, release := blockedPool(t, 8)
	var queued []*Secret
	for range 8 {
		queued = append(queued, started(pool.MasterSecret(q)))
	}
	closed := make(chan struct{})
	go func() { pool.Close(); close(closed) }()
	for !pool.isClosed() {
		runtime.Gosched()
	}
	release()
	<-closed
	for i, s := range queued {
		if _, err := s.Master(); !errors.Is(err, ErrClosed) {
			t.Errorf("request %d: error %v", i, err)
		}
	}
	if _, err := started(pool.MasterSecret(q)).Master(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: error %v", err)
	}
	pool.Close() // again
	for i := 0; runtime.NumGoroutine() > before; i++ {
		if i > 1e6 {
			t.Fatal("goroutines are left")
		}
		runtime.Gosched()
	}
}

// Requests from many sides, and Close among them: every secret settles.
func TestPoolConcurrent(t *testing.T) {
	key := key512(t)
	ring := ringOf(t, key)
	pool := NewPool(ring, 2, 4)
	q := testRequest(ring.Keys()[0], seal(t, key, testPremaster()))
	want := mustMaster(t, NewLocal(ring).MasterSecret(q))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				s := pool.MasterSecret(q)
				await(s)
				if m, err := s.Master(); err == nil && !bytes.Equal(m, want) {
					t.Error("another master secret")
				} else if err != nil && !errors.Is(err, ErrOverload) && !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			}
			if i == 0 {
				pool.Close()
			}
		})
	}
	wg.Wait()
	pool.Close()
}

// TestPoolPrepare: each worker is prepared once, on its own goroutine.
func TestPoolPrepare(t *testing.T) {
	prepared := make(chan struct{}, 10)
	p := NewPool(ringOf(t), 3, 1, func() { prepared <- struct{}{} })
	p.Close()
	if n := len(prepared); n != 3 {
		t.Errorf("%d workers were prepared, want 3", n)
	}
}
