// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// idleRig is a pool whose requests for a fast key are done in moments to spare, under a clock of the test's own.
type idleRig struct {
	*Idle
	pool *Pool
	keys []*rsa.PrivateKey // fast, and not
	ring *Ring
}

// withIdle calls f with such a pool, of so many workers, and with so many places for who waits; zero: as many as usual.
func withIdle(t *testing.T, workers, places int, f func(t *testing.T, r *idleRig)) {
	t.Helper()
	keys := []*rsa.PrivateKey{key2048(t), key1024(t)}
	ring := ringOf(t, keys...)
	if !ring.inBatch(ring.Keys()[0]) {
		t.Skip("processor: no fast private operation")
	}
	synctest.Test(t, func(t *testing.T) {
		idle := new(Idle)
		r := &idleRig{idle, NewPool(ring, workers, 0, Manners{Idle: idle}), keys, ring}
		if places > 0 {
			r.pool.places = places
		}
		defer r.pool.Close()
		f(t, r)
	})
}

// ask starts a request for a key, with a premaster of its own, and returns what it should come to.
func (r *idleRig) ask(t *testing.T, key int, own byte) (s *Secret, want []byte) {
	premaster := testPremaster()
	premaster[10] = own
	q := testRequest(r.ring.Keys()[key], seal(t, r.keys[key], premaster))
	return started(r.pool.MasterSecret(q)), MasterSecret(q.Version, q.PRF, premaster, q.Client, q.Server)
}

func wantMaster(t *testing.T, s *Secret, want []byte) {
	t.Helper()
	if got := mustMaster(t, s); !bytes.Equal(got, want) {
		t.Error("another master secret")
	}
}

// TestIdle: what was asked for is done step by step and no sooner, by fours or after a while; for other keys than fast ones by the
// workers.
func TestIdle(t *testing.T) {
	for n := 1; n <= 2*batchSize+1; n++ {
		withIdle(t, 1, 0, func(t *testing.T, r *idleRig) {
			s := r.Stepper()
			defer s.Close()
			if s.Step() || !s.Due().IsZero() || s.Pressed(time.Now()) {
				t.Error("something is to be done before anything was asked for")
			}
			slow, wantSlow := r.ask(t, 1, 0)
			synctest.Wait()
			wantMaster(t, slow, wantSlow)
			begun := time.Now()
			var secrets []*Secret
			var wants [][]byte
			for i := range n {
				secret, want := r.ask(t, 0, byte(i))
				secrets, wants = append(secrets, secret), append(wants, want)
			}
			if r.pool.Waiting() != n {
				t.Errorf("%d wait, of %d", r.pool.Waiting(), n)
			}
			steps := 0
			for left := n; left > 0; left -= batchSize {
				want := begun
				if left < batchSize {
					want = begun.Add(gatherIdle)
				}
				if got := s.Due(); !got.Equal(want) {
					t.Fatalf("with %d left, due %v, want %v", left, got.Sub(begun), want.Sub(begun))
				}
				if time.Sleep(time.Until(want) - 1); left < batchSize && s.Step() {
					t.Error("did not wait for others")
				}
				time.Sleep(time.Until(want))
				if !s.Step() || !s.Due().Equal(time.Now()) {
					t.Errorf("with %d left, not begun when due", left)
				}
				last := secrets[n-left+min(left, batchSize)-1]
				for waiting := r.pool.Waiting(); !last.Ready(); steps++ {
					if !s.Step() || r.pool.Waiting() != waiting {
						t.Fatal("an operation was not gone on with")
					}
				}
			}
			if steps < 5 {
				t.Errorf("all was done in %d steps", steps)
			}
			if s.Step() || !s.Due().IsZero() || r.pool.Waiting() != 0 {
				t.Error("more is to be done than was asked for")
			}
			for i := range secrets {
				wantMaster(t, secrets[i], wants[i])
			}
		})
	}
}

// TestIdleQueue: jobs are taken in their order, those of one pool at once, by fours or after a while, and no more operations of a
// pool are at hand than it may have.
func TestIdleQueue(t *testing.T) {
	byFours(t)
	synctest.Test(t, func(t *testing.T) {
		idle := new(Idle)
		one, other := newPool(new(Ring), 100), newPool(new(Ring), 1)
		one.width, other.width = 1, 1
		var settled []int
		put := func(p *Pool, id int) error {
			return idle.put(p, job{settle: func([]byte, error) { settled = append(settled, id) }})
		}
		take := func(when string, p *Pool, due time.Time, ids ...int) {
			t.Helper()
			var jobs [maxBatch]job
			from, n, since, _ := idle.take(&jobs)
			settled = nil
			for _, j := range jobs[:n] {
				j.settle(nil, nil)
			}
			if from != p || !slices.Equal(settled, ids) || !since.Equal(due) {
				t.Errorf("%s: took %d of the %v pool, due %v, want %v", when, settled, map[*Pool]string{nil: "no", one: "one", other: "other"}[from], since, due)
			}
		}
		nothing := func(when string) { t.Helper(); take(when, nil, time.Time{}) }
		nothing("empty")
		first := time.Now()
		for id := range 6 {
			_ = put(one, id)
		}
		_ = put(other, 6)
		if err := put(other, 7); !errors.Is(err, ErrOverload) {
			t.Errorf("one too many: error %v", err)
		}
		_ = put(one, 8)
		take("many", one, first, 0, 1, 2, 3)
		nothing("at its width")
		idle.done(one)
		take("again many", one, first, 4, 5)
		idle.done(one)
		nothing("too few")
		time.Sleep(gatherIdle)
		take("after a while", other, first.Add(gatherIdle), 6)
		take("the next", one, first.Add(gatherIdle), 8)
		nothing("all are taken")
		second := time.Now()
		_, _, _ = put(other, 9), put(one, 10), put(other, 11)
		settled = nil
		idle.drop(other)
		if !slices.Equal(settled, []int{9}) || one.aside.Load() != 1 || other.aside.Load() != 0 {
			t.Errorf("dropped %d, %d and %d wait", settled, one.aside.Load(), other.aside.Load())
		}
		idle.done(one)
		time.Sleep(gatherIdle)
		take("what is left", one, second.Add(gatherIdle), 10)
		if len(idle.jobs) != 0 || idle.waiting.Load() != 0 || idle.due.Load() != 0 || idle.oldest.Load() != 0 {
			t.Error("something waits that nobody put there")
		}
	})
}

// TestIdleOrder: however many wait, those that were hastened are taken first, and each in its order.
func TestIdleOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle, pool := new(Idle), newPool(new(Ring), 10_000)
		pool.width = math.MaxInt
		var waiting, hastened, taken, want []int
		secrets := make([]Secret, 5_000)
		random := rand.New(rand.NewPCG(1, 2))
		takeSome := func() {
			time.Sleep(gatherIdle)
			var jobs [maxBatch]job
			_, n, _, _ := idle.take(&jobs)
			for _, j := range jobs[:n] {
				j.settle(nil, nil)
			}
			all := slices.Concat(hastened, waiting)
			want = append(want, all[:n]...)
			h := min(n, len(hastened))
			hastened, waiting = hastened[h:], waiting[n-h:]
		}
		for id := range secrets {
			if err := idle.put(pool, job{of: &secrets[id], settle: func([]byte, error) { taken = append(taken, id) }}); err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, id)
			if random.IntN(20) == 0 {
				at := random.IntN(len(waiting))
				idle.hasten(&secrets[waiting[at]])
				hastened = append(hastened, waiting[at])
				waiting = slices.Delete(slices.Clone(waiting), at, at+1)
			}
			if random.IntN(6) == 0 || len(waiting) > 1000 && random.IntN(3) > 0 {
				takeSome()
			}
		}
		for len(waiting)+len(hastened) > 0 {
			takeSome()
		}
		if !slices.Equal(taken, want) || len(taken) != len(secrets) {
			t.Errorf("%d of %d were taken, in another order", len(taken), len(secrets))
		}
	})
}

// TestHasten: a secret that somebody waits for is due at once, before the others, and pressed until it is there.
func TestHasten(t *testing.T) {
	byFours(t)
	withIdle(t, 1, 0, func(t *testing.T, r *idleRig) {
		s := r.Stepper()
		defer s.Close()
		var secrets []*Secret
		var wants [][]byte
		for i := range 3*batchSize - 1 {
			secret, want := r.ask(t, 0, byte(i))
			secrets, wants = append(secrets, secret), append(wants, want)
		}
		time.Sleep(time.Millisecond)
		if s.Pressed(time.Now()) {
			t.Error("pressed, though nobody waits")
		}
		hastened := []int{len(secrets) - 2, len(secrets) - 1, 5, 4, 7}
		for _, i := range slices.Concat(hastened, hastened) {
			secrets[i].Hasten()
		}
		ready := func() (all []int) {
			for i, secret := range secrets {
				if secret.Ready() {
					all = append(all, i)
				}
			}
			return all
		}
		last := len(secrets) - 1
		for _, want := range [][]int{
			{4, 5, last - 1, last},             // first come, first served, of those hastened
			{0, 1, 4, 5, 7, 2, last - 1, last}, // and then of the others
		} {
			for len(ready()) < len(want) {
				if !s.Pressed(time.Now()) {
					t.Fatalf("not pressed, and %d are ready", ready())
				}
				s.Step()
			}
			slices.Sort(want)
			if got := ready(); !slices.Equal(got, want) {
				t.Errorf("%d are ready, want %d", got, want)
			}
		}
		s.Step() // the end of that operation
		if s.Pressed(time.Now()) {
			t.Error("pressed, though nobody waits any more")
		}
		for i, secret := range secrets {
			for !secret.Ready() {
				if !s.Step() {
					time.Sleep(gatherIdle)
				}
			}
			wantMaster(t, secret, wants[i])
		}
		alone, want := r.ask(t, 0, 0)
		alone.Hasten()
		if due := s.Due(); due.After(time.Now()) {
			t.Error("one alone waits for others")
		}
		for !alone.Ready() {
			s.Step()
		}
		wantMaster(t, alone, want)
		alone.Hasten() // what is ready already

		gone, _ := r.ask(t, 0, 0)
		gone.Hasten()
		r.pool.Close()
		if _, err := gone.Master(); !errors.Is(err, ErrClosed) || s.Pressed(time.Now()) {
			t.Errorf("of a closed pool: error %v, pressed %v", err, s.Pressed(time.Now()))
		}
	})
}

// TestSteppersAtOnce: goroutines share what there is, and none of it is lost or done twice.
func TestSteppersAtOnce(t *testing.T) {
	key := key2048(t)
	ring := ringOf(t, key)
	if !ring.inBatch(ring.Keys()[0]) {
		t.Skip("processor: no fast private operation")
	}
	idle := new(Idle)
	pool := NewPool(ring, 2, 0, Manners{Idle: idle})
	defer pool.Close()
	const asked = 50
	var settled [asked]atomic.Int32
	var left atomic.Int32
	left.Store(asked)
	var steppers sync.WaitGroup
	for range 3 {
		steppers.Go(func() {
			s := idle.Stepper()
			defer s.Close()
			for left.Load() > 0 {
				if !s.Step() {
					runtime.Gosched()
				}
			}
		})
	}
	for i := range asked {
		premaster := testPremaster()
		premaster[10] = byte(i)
		q := testRequest(ring.Keys()[0], seal(t, key, premaster))
		want := MasterSecret(q.Version, q.PRF, premaster, q.Client, q.Server)
		settle := func(got []byte, err error) {
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("request %d: another master secret, or error %v", i, err)
			}
			settled[i].Add(1)
			left.Add(-1)
		}
		if err := idle.put(pool, job{request: q, settle: settle}); err != nil {
			t.Fatal(err)
		}
	}
	steppers.Wait()
	for i := range settled {
		if n := settled[i].Load(); n != 1 {
			t.Errorf("request %d was settled %d times", i, n)
		}
	}
	if n := pool.Waiting(); n != 0 || pool.atHand != 0 {
		t.Errorf("%d wait, and %d operations are at hand", n, pool.atHand)
	}
}

// TestNoKeyWithoutWorkers: what a pool without workers cannot do is refused, and does not wait for them.
func TestNoKeyWithoutWorkers(t *testing.T) {
	pool := NewPool(new(Ring), 1, 0, Manners{Idle: new(Idle)})
	defer pool.Close()
	if _, err := started(pool.MasterSecret(testRequest(KeyID{1}, make([]byte, 256)))).Master(); !errors.Is(err, ErrNoKey) {
		t.Errorf("error %v", err)
	}
	if n := pool.Waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
}

// TestCloseOfAPoolInTheMiddle: an operation at hand is not cut short, and nobody waits for it.
func TestCloseOfAPoolInTheMiddle(t *testing.T) {
	withIdle(t, 1, 0, func(t *testing.T, r *idleRig) {
		secret, want := r.ask(t, 0, 1)
		time.Sleep(gatherIdle)
		s := r.Stepper()
		defer s.Close()
		if !s.Step() || secret.Ready() {
			t.Fatal("not begun, or done at once")
		}
		r.pool.Close()
		for s.Step() {
		}
		wantMaster(t, secret, want)
	})
}

// TestInterruptible: with one key that is not, a ring is not.
func TestInterruptible(t *testing.T) {
	fast, slow := key2048(t), key1024(t)
	if !ringOf(t, fast).inBatch(ringOf(t, fast).Keys()[0]) {
		t.Skip("processor: no fast private operation")
	}
	for _, test := range []struct {
		keys []*rsa.PrivateKey
		want bool
	}{{nil, true}, {[]*rsa.PrivateKey{fast}, true}, {[]*rsa.PrivateKey{slow}, false}, {[]*rsa.PrivateKey{fast, slow}, false}} {
		if got := ringOf(t, test.keys...).Interruptible(); got != test.want {
			t.Errorf("of %d keys: %v", len(test.keys), got)
		}
	}
}

// TestIdlePressed: when operations pile up, and when one has waited for long, before it or in the middle.
func TestIdlePressed(t *testing.T) {
	withIdle(t, 1, 0, func(t *testing.T, r *idleRig) {
		s := r.Stepper()
		defer s.Close()
		expect := func(when string, want bool) {
			t.Helper()
			if got := s.Pressed(time.Now()); got != want {
				t.Errorf("%s: pressed %v", when, got)
			}
		}
		_, _ = r.ask(t, 0, 0)
		expect("asked", false)
		time.Sleep(overdueAfter)
		expect("waits", false)
		time.Sleep(time.Nanosecond)
		expect("waits long", true)
		s.Step()
		expect("begun", false)
		time.Sleep(overdueAfter + 1)
		expect("takes long", true)
		for s.Step() {
		}
		expect("done", false)
		for range piledUpAt - 1 {
			_, _ = r.ask(t, 0, 0)
		}
		expect("nearly as many", false)
		_, _ = r.ask(t, 0, 0)
		expect("as many", true)
	})
}

// TestIdleWidth: no more operations of a pool are at hand than it has workers.
func TestIdleWidth(t *testing.T) {
	withIdle(t, 2, 0, func(t *testing.T, r *idleRig) {
		for range 3 * batchSize {
			_, _ = r.ask(t, 0, 0)
		}
		steppers := []*Stepper{r.Stepper(), r.Stepper(), r.Stepper()}
		for i, s := range steppers {
			defer s.Close()
			if got := s.Step(); got != (i < 2) {
				t.Errorf("stepper %d: %v", i, got)
			}
		}
		third := steppers[2]
		if third.Due().Before(time.Now().Add(gatherFor)) {
			t.Error("due, though it may do nothing")
		}
		for first := steppers[0]; r.pool.Waiting() == batchSize; { // until it has taken what was left
			first.Step()
		}
		steppers[1].Close()
		if third.Step() {
			t.Error("did something that nobody asked for")
		}
	})
}

// TestIdleOverload: as many wait as a pool has places, and a pool that is closed has none left waiting; others' go on.
func TestIdleOverload(t *testing.T) {
	withIdle(t, 1, 3, func(t *testing.T, r *idleRig) {
		other := &idleRig{r.Idle, NewPool(r.ring, 1, 3, Manners{Idle: r.Idle}), r.keys, r.ring}
		defer other.pool.Close()
		var mine []*Secret
		for range 3 {
			s, _ := r.ask(t, 0, 0)
			mine = append(mine, s)
		}
		if got := r.pool.Filled(); got != 1 {
			t.Errorf("as many as may wait fill %v", got)
		}
		over, _ := r.ask(t, 0, 0)
		if _, err := over.Master(); !errors.Is(err, ErrOverload) {
			t.Errorf("one too many: error %v", err)
		}
		theirs, want := other.ask(t, 0, 7)
		r.pool.Close()
		for _, s := range mine {
			if _, err := s.Master(); !errors.Is(err, ErrClosed) {
				t.Errorf("of a closed pool: error %v", err)
			}
		}
		if r.pool.Waiting() != 0 || other.pool.Waiting() != 1 {
			t.Errorf("%d and %d wait", r.pool.Waiting(), other.pool.Waiting())
		}
		time.Sleep(gatherIdle)
		s := r.Stepper()
		defer s.Close()
		for s.Step() {
		}
		wantMaster(t, theirs, want)
	})
}

// TestStepperClose: an operation at hand is done to its end.
func TestStepperClose(t *testing.T) {
	withIdle(t, 1, 0, func(t *testing.T, r *idleRig) {
		first, want := r.ask(t, 0, 1)
		time.Sleep(gatherIdle)
		s := r.Stepper()
		if !s.Step() || first.Ready() {
			t.Fatal("not begun, or done at once")
		}
		s.Close()
		wantMaster(t, first, want)
		second, _ := r.ask(t, 0, 2)
		time.Sleep(gatherIdle)
		if s.Step() || second.Ready() {
			t.Error("did something when it was closed")
		}
	})
}
