// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"golang.org/x/sys/unix"
)

// chore has something to do in so many steps from a time on.
type chore struct {
	mu      sync.Mutex
	left    int
	takes   time.Duration // each
	due     time.Time
	pressed bool
	spare   bool
	done    int
	closed  bool
}

func (c *chore) Step() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 || time.Now().Before(c.due) {
		return false
	}
	c.left--
	c.done++
	time.Sleep(c.takes)
	return true
}

func (c *chore) Due() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return time.Time{}
	}
	return c.due
}

func (c *chore) Pressed(time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pressed
}

func (c *chore) Spare(time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spare
}

func (c *chore) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
}

func (c *chore) steps() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// chores makes those of a relay's loops, alike.
type chores struct {
	like chore
	mu   sync.Mutex
	all  []*chore
}

func (cs *chores) next() Chore {
	c := &chore{left: cs.like.left, due: cs.like.due, pressed: cs.like.pressed}
	cs.mu.Lock()
	cs.all = append(cs.all, c)
	cs.mu.Unlock()
	return c
}

// made returns those of all loops, one for each processor.
func (cs *chores) made() []*chore {
	var all []*chore
	eventually(func() bool {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		all = cs.all
		return len(all) == runtime.GOMAXPROCS(0)
	})
	return all
}

// TestChore: each loop does its chore to the end when it is due, though nothing else happens, and gives it up when it ends.
func TestChore(t *testing.T) {
	cs := &chores{like: chore{left: 100, due: time.Now().Add(20 * time.Millisecond)}}
	r := newRig(t, Config{Chore: cs.next}, nil)
	all := cs.made()
	if len(all) != runtime.GOMAXPROCS(0) {
		t.Fatalf("%d loops have one", len(all))
	}
	for i, c := range all {
		if !eventually(func() bool { return c.steps() == 100 }) {
			t.Errorf("loop %d: %d steps", i, c.steps())
		}
	}
	r.stop()
	for i, c := range all {
		if !c.closed {
			t.Errorf("loop %d's was not closed", i)
		}
	}
}

// TestChoreWithoutEnd: a chore that never ends, pressed or not, keeps a loop neither from its sockets, nor from what
// is to be done at a time, nor from its end.
func TestChoreWithoutEnd(t *testing.T) {
	for name, pressed := range map[string]bool{"not pressed": false, "pressed": true} {
		t.Run(name, func(t *testing.T) {
			cs := &chores{like: chore{left: 1 << 62, pressed: pressed}}
			r := newRig(t, Config{Chore: cs.next, IdleTimeout: 50 * time.Millisecond}, func(e *fake) {
				e.onFeed = func(e *fake, side handshake.Side, b []byte) {}
			})
			c, s := r.pair()
			send(t, c, "there")
			expect(t, s, "there")
			send(t, s, "and back")
			expect(t, c, "and back")
			r.wantEnded(EndedIdle)
			r.stop()
		})
	}
}

// TestChoreOfALoopThatEnds: what is begun of it is not left until the others have ended, too, as their flows may wait for it.
func TestChoreOfALoopThatEnds(t *testing.T) {
	c := &chore{}
	l := newLoops(t, 1, Config{Chore: func() Chore { return c }})[0]
	l.post(l.stopAccepting)
	l.run(func(err error) { t.Error(err) })
	if !c.closed {
		t.Error("the loop has ended, and its chore is open")
	}
}

// TestPress: a chore that is pressed has one step at least, and others for as long as all else took, within bounds.
func TestPress(t *testing.T) {
	const step = 50 * time.Microsecond
	for _, test := range []struct {
		left int
		took time.Duration
		want int
	}{{100, 0, 1}, {100, 3 * step, 3}, {2, 3 * step, 2}, {100, time.Hour, int(pressedFor / step)}, {0, time.Hour, 0}} {
		synctest.Test(t, func(t *testing.T) {
			c := &chore{left: test.left, takes: step}
			l := &loop{chore: c}
			l.press(test.took)
			if c.done != test.want {
				t.Errorf("%d steps of %d after %v, want %d", c.done, test.left, test.took, test.want)
			}
		})
	}
}

// TestPass: a loop is awake for its chore, and while it lingers.
func TestPass(t *testing.T) {
	const ago, ahead = -time.Nanosecond, time.Nanosecond
	for name, test := range map[string]struct {
		lingering   time.Duration // from now on
		left        int
		due         time.Duration
		awake, done bool
	}{
		"nothing":                    {ago, 0, 0, false, false},
		"a chore":                    {ago, 1, 0, true, true},
		"a chore for later":          {ago, 1, ahead, false, false},
		"lingers":                    {ahead, 0, 0, true, false},
		"lingers, a chore":           {ahead, 1, 0, true, true},
		"lingers, a chore for later": {ahead, 1, ahead, true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			now := time.Now()
			c := &chore{left: test.left, due: now.Add(test.due)}
			l := &loop{chore: c, lingering: now.Add(test.lingering)}
			if awake := l.pass(now); awake != test.awake || (c.done > 0) != test.done {
				t.Errorf("%s: awake %v, the chore done %v", name, awake, c.done > 0)
			}
		})
	}
}

// TestChoreApart: amid handshakes the chore waits until nobody else has wanted the processor for a while, or for long enough.
func TestChoreApart(t *testing.T) {
	const almost = -time.Nanosecond
	for name, test := range map[string]struct {
		lingering   time.Duration // from now on
		shared, due time.Duration // ago
		pressed     bool
		want        bool
	}{
		"others want the processor":        {1, 0, 0, false, false},
		"they do, but it is pressed":       {1, 0, 0, true, true},
		"they did a moment ago":            {1, choreApart + almost, 0, false, false},
		"they have not for a while":        {1, choreApart, 0, false, true},
		"they do, and no handshake is on":  {0, 0, 0, false, true},
		"they do, and it has waited":       {1, 0, choreWaits + almost, false, false},
		"they do, and it has waited long":  {1, 0, choreWaits, false, true},
		"they never did":                   {1, time.Hour, 0, false, true},
		"nothing of all that, but not due": {0, time.Hour, -1, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			now := time.Now()
			c := &chore{left: 1, due: now.Add(-test.due), pressed: test.pressed}
			l := &loop{srv: new(Server), chore: c, lingering: now.Add(test.lingering)}
			l.passed(now.Add(-test.shared-emptyPass-1), now.Add(-test.shared))
			if got := l.doChore(now); got != test.want || (c.done > 0) != test.want {
				t.Errorf("%s: done %v", name, got)
			}
		})
	}
}

// TestPassInTurn: after a bit of the chore the loop looks at the sockets, and then gives way before the next.
func TestPassInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &chore{left: 3, due: time.Now()}
		l := &loop{chore: c}
		for i, want := range []int{1, 1, 2, 2, 3, 3} {
			if !l.pass(time.Now()) || c.done != want || l.owes != (i%2 == 0) {
				t.Errorf("moment %d: %d steps, want %d; gives way in the next: %v", i, c.done, want, l.owes)
			}
		}
		if l.pass(time.Now()) {
			t.Error("the loop is awake with nothing to do")
		}
	})
}

// TestRouse: a loop that sleeps is woken, once.
func TestRouse(t *testing.T) {
	loops := newLoops(t, 3, Config{})
	busy, other, sleeps := loops[0], loops[1], loops[2]
	if busy.rouse() || sleeps.called() {
		t.Error("a loop was roused that was awake")
	}
	sleeps.asleep.Store(true)
	if !busy.rouse() || !sleeps.called() {
		t.Error("a loop that sleeps was not roused")
	}
	if first := sleeps.inbox.Load(); busy.rouse() || sleeps.inbox.Load() != first {
		t.Error("a loop was roused twice")
	}
	if busy.called() || other.called() {
		t.Error("another loop was roused")
	}
	var events [1]unix.EpollEvent
	if n, err := unix.EpollWait(sleeps.epoll, events[:], 0); n != 1 {
		t.Errorf("%d events, error %v", n, err)
	}
}

// TestPressedAndSpare: a busy loop that is pressed has one that sleeps begin what that may, and does itself what it alone can. One
// that is not busy wakes nobody.
func TestPressedAndSpare(t *testing.T) {
	for _, test := range []struct{ busy, spare, rouses bool }{
		{true, true, true}, {true, false, false}, {false, true, false},
	} {
		c := &chore{left: 1, pressed: true, spare: test.spare}
		loops := newLoops(t, 2, Config{Chore: func() Chore { return c }})
		l, sleeps := loops[0], loops[1]
		l.busy = test.busy
		sleeps.asleep.Store(true)
		l.post(l.stopAccepting) // it ends after one round
		l.run(func(err error) { t.Error(err) })
		if sleeps.called() != test.rouses || (c.done > 0) == test.rouses {
			t.Errorf("%+v: the loop that sleeps was roused: %v; the chore done: %v", test, sleeps.called(), c.done > 0)
		}
	}
}
