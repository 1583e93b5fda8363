// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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
	pool := NewPool(ring, 0, 0, Manners{})
	defer pool.Close()
	encrypted := seal(t, key, testPremaster())
	q := testRequest(ring.Keys()[0], encrypted)
	want := mustMaster(t, NewLocal(ring).MasterSecret(q))
	s := pool.MasterSecret(q)
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
	pool = NewPool(ring, 1, queue, Manners{})
	return pool, testRequest(ring.Keys()[0], seal(t, key, testPremaster())), block(pool)
}

// block has a pool's single worker wait in a callback until release is called.
func block(pool *Pool) (release func()) {
	entered, gate := make(chan struct{}), make(chan struct{})
	// The job is sent with its callback already there, so that it runs on the worker.
	s, settle := NewSecret()
	s.Then(func() { close(entered); <-gate })
	pool.queue <- job{settle: settle}
	<-entered
	return func() { close(gate) }
}

func TestPoolOverload(t *testing.T) {
	pool, q, release := blockedPool(t, 3)
	var queued []*Secret
	for range 3 {
		queued = append(queued, started(pool.MasterSecret(q)))
	}
	if pool.Waiting() != 3 || pool.Filled() != 1 {
		t.Errorf("%d wait, %v of the queue", pool.Waiting(), pool.Filled())
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
	pool := NewPool(ring, 2, 4, Manners{})
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

// TestPoolBatches: requests that wait together, for keys of all sizes and none, each get their master secret, and
// one whose padding is bad a random one. Each is there twice.
func TestPoolBatches(t *testing.T) {
	keys := []*rsa.PrivateKey{key2048(t), key2048too(t), key1024(t), key3072(t)}
	ring := ringOf(t, keys...)
	pool := NewPool(ring, 1, 32, Manners{})
	defer pool.Close()
	for _, batch := range [][]int{{0}, {0, 1}, {1, 0, 0}, {2, 0, 1, 0, 1}, {0, 2, 0, 1}, {0, 1, 3, 0, 1, 2},
		{-1, 0, 1, 0}, {0, -1, 1, 0}} {
		for bad := -1; bad < len(batch); bad++ {
			release := block(pool)
			var secrets []*Secret
			var want [][]byte
			for i, k := range batch {
				q := testRequest(KeyID{}, nil)
				premaster := testPremaster()
				premaster[10] = byte(i)
				if k >= 0 {
					q = testRequest(ring.Keys()[k], seal(t, keys[k], premaster))
				}
				if i == bad {
					q.EncryptedPremaster = bytes.Repeat([]byte{1}, len(q.EncryptedPremaster))
				}
				secrets = append(secrets, started(pool.MasterSecret(q)), started(pool.MasterSecret(q)))
				want = append(want, MasterSecret(q.Version, q.PRF, premaster, q.Client, q.Server))
			}
			release()
			for i, k := range batch {
				await(secrets[2*i])
				await(secrets[2*i+1])
				if k < 0 {
					if _, err := secrets[2*i].Master(); !errors.Is(err, ErrNoKey) {
						t.Errorf("batch %v: %d without a key: error %v", batch, i, err)
					}
					continue
				}
				first, second := mustMaster(t, secrets[2*i]), mustMaster(t, secrets[2*i+1])
				switch {
				case i != bad && !(bytes.Equal(first, want[i]) && bytes.Equal(second, want[i])):
					t.Errorf("batch %v: another master secret for %d", batch, i)
				case i == bad && (bytes.Equal(first, want[i]) || bytes.Equal(first, second)):
					t.Errorf("batch %v: no random secret for %d", batch, i)
				}
			}
		}
	}
}

// TestPoolTakesBatches: a worker takes what fits in a batch, one job more at most.
func TestPoolTakesBatches(t *testing.T) {
	byFours(t)
	ring := ringOf(t, key2048(t), key1024(t))
	fast, slow := ring.Keys()[0], ring.Keys()[1]
	if !ring.inBatch(fast) {
		t.Skip("processor: no fast private operation")
	}
	for _, c := range []struct {
		waiting []KeyID
		want    int
	}{
		{[]KeyID{fast}, 1},
		{[]KeyID{fast, fast}, 2},
		{[]KeyID{fast, fast, fast}, 3},
		{[]KeyID{fast, fast, fast, fast, fast}, 4},
		{[]KeyID{slow, fast, fast, fast}, 1},
		{[]KeyID{fast, fast, fast, slow, fast}, 4},
		{[]KeyID{fast, slow, fast, fast}, 2},
	} {
		pool := &Pool{ring: ring, queue: make(chan job, 8)}
		for _, id := range c.waiting {
			pool.queue <- job{request: Request{Key: id}}
		}
		jobs := [maxBatch]job{<-pool.queue}
		if got := pool.more(&jobs); got != c.want || pool.Waiting() != len(c.waiting)-got {
			t.Errorf("of %v, %d were taken and %d left, want %d", c.waiting, got, pool.Waiting(), c.want)
		}
	}
}

// TestPoolGathers: a worker waits a while for others to go with a job, but not once there is a batch, nor when the
// pool is closed, nor for a key that fits in none.
func TestPoolGathers(t *testing.T) {
	byFours(t)
	synctest.Test(t, func(t *testing.T) {
		ring := ringOf(t, key2048(t), key1024(t))
		fast, slow := ring.Keys()[0], ring.Keys()[1]
		if !ring.inBatch(fast) {
			t.Skip("processor: no fast private operation")
		}
		for name, c := range map[string]struct {
			ask    func(p *Pool)
			want   int
			waited time.Duration
		}{
			"alone": {func(p *Pool) { put(t, p, fast) }, 1, gatherFor},
			"two, one late": {func(p *Pool) {
				put(t, p, fast)
				time.Sleep(gatherFor - 1)
				put(t, p, fast)
			}, 2, gatherFor},
			"one too late": {func(p *Pool) {
				put(t, p, fast)
				time.Sleep(gatherFor + 1)
				put(t, p, fast)
			}, 1, gatherFor},
			"a batch": {func(p *Pool) { put(t, p, fast, fast, fast, fast, fast) }, 4, 0},
			"a batch at last": {func(p *Pool) {
				put(t, p, fast, fast)
				time.Sleep(gatherFor / 2)
				put(t, p, slow, fast)
			}, 3, gatherFor / 2},
			"no fast operation": {func(p *Pool) { put(t, p, slow, fast) }, 1, 0},
			"closed": {func(p *Pool) {
				put(t, p, fast)
				time.Sleep(gatherFor / 2)
				p.Close()
			}, 1, gatherFor / 2},
		} {
			p := newPool(ring, 8)
			begun := time.Now()
			var waited time.Duration
			got := make(chan int)
			go func() {
				var jobs [maxBatch]job
				n := p.take(&jobs)
				waited = time.Since(begun)
				got <- n
			}()
			c.ask(p)
			if n := <-got; n != c.want || waited != c.waited {
				t.Errorf("%s: %d taken after %v, want %d after %v", name, n, waited, c.want, c.waited)
			}
		}
	})
}

func put(t *testing.T, p *Pool, keys ...KeyID) {
	for _, id := range keys {
		if err := p.enqueue(job{request: Request{Key: id}}); err != nil {
			t.Error(err)
		}
	}
}

// TestPoolPressed: workers that give way are told when requests pile up, and when they took very long for one, and when
// that is over.
func TestPoolPressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []bool
		p := NewPool(new(Ring), 1, pressedAt, Manners{Prepare: func() func(bool) {
			return func(pressed bool) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, pressed)
			}
		}})
		expect := func(when string, want ...bool) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(told, want) {
				t.Errorf("%s: told %v, want %v", when, told, want)
			}
		}
		one := func(took time.Duration) {
			if err := p.enqueue(job{settle: func([]byte, error) { time.Sleep(took) }}); err != nil {
				t.Error(err)
			}
		}
		one(time.Millisecond)
		synctest.Wait() // the worker has it
		for range pressedAt - 1 {
			one(0)
		}
		expect("nearly as many")
		one(0)
		expect("as many", true)
		time.Sleep(time.Millisecond)
		expect("none is left", true, false)
		one(starvedAfter)
		time.Sleep(starvedAfter)
		expect("slow", true, false)
		one(starvedAfter + 1)
		time.Sleep(starvedAfter + 1)
		expect("starved", true, false, true)
		time.Sleep(starvedFor)
		one(0)
		expect("not long after", true, false, true)
		time.Sleep(time.Nanosecond)
		one(0)
		expect("after a while", true, false, true, false)
		p.Close()
	})
}

// TestPoolPausesAlike: it does not depend on what is opened how often an operation is interrupted.
func TestPoolPausesAlike(t *testing.T) {
	key := key2048(t)
	ring := ringOf(t, key)
	id := ring.Keys()[0]
	if !ring.inBatch(id) {
		t.Skip("processor: no fast private operation")
	}
	pauses := 0
	p, batch := newPool(ring, 1), newFastBatch()
	right := testRequest(id, seal(t, key, testPremaster()))
	wrong, short := right, right
	wrong.EncryptedPremaster = bytes.Repeat([]byte{1}, 256)
	short.EncryptedPremaster = nil
	for _, n := range []int{1, batchSize} {
		want := 0
		for i, q := range []Request{right, wrong, short} {
			pauses = 0
			var jobs [maxBatch]job
			for j := range jobs[:n] {
				_, settle := NewSecret()
				jobs[j] = job{request: q, settle: settle}
			}
			p.open(batch, jobs[:n], func() { pauses++ })
			if i == 0 {
				want = pauses
			}
			if pauses == 0 || pauses != want {
				t.Errorf("%d at a time: %d pauses, want %d", n, pauses, want)
			}
		}
	}
}

// TestPoolPrepare: each worker is prepared once, on its own goroutine.
func TestPoolPrepare(t *testing.T) {
	prepared := make(chan struct{}, 10)
	p := NewPool(ringOf(t), 3, 1, Manners{Prepare: func() func(bool) {
		prepared <- struct{}{}
		return nil
	}})
	p.Close()
	if n := len(prepared); n != 3 {
		t.Errorf("%d workers were prepared, want 3", n)
	}
}
