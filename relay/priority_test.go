// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/sightglass/sightglass/relay/sock"
	"golang.org/x/sys/unix"
)

// onThread has do called on a thread of its own.
func onThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		do()
	}()
	<-done
}

// raisable returns the nice values of a test: one that it has, and a lesser one that it may take.
func raisable(t *testing.T) (usual, raised int) {
	t.Helper()
	var err error
	onThread(func() {
		if usual, err = sock.Nice(sock.Thread()); err == nil {
			err = sock.SetNice(sock.Thread(), usual-1)
			_ = sock.SetNice(sock.Thread(), usual)
		}
	})
	switch {
	case errors.Is(err, unix.EPERM) && os.Getenv("CI") != "true":
		t.Skip("to take a lesser nice value takes CAP_SYS_NICE")
	case err != nil:
		t.Fatal(err)
	}
	return usual, usual - 1
}

// TestPriority: the thread that a loop is on has it, and no other any more.
func TestPriority(t *testing.T) {
	usual, raised := raisable(t)
	p := priority{raised: raised, usual: usual}
	want := func(what string, thread, nice int) {
		t.Helper()
		if has, err := sock.Nice(thread); err != nil || has != nice {
			t.Errorf("%s: thread has nice %d, %v, want %d", what, has, err, nice)
		}
	}
	onThread(func() {
		first := sock.Thread()
		p.raise()
		want("raised", first, raised)
		p.lower()
		want("lowered", first, usual)
		p.follow()
		want("raised again", first, raised)
		onThread(func() {
			second := sock.Thread()
			p.raise()
			want("raised already", first, raised)
			p.follow()
			want("gone on, the first", first, usual)
			want("gone on, the second", second, raised)
			p.lower()
			want("at the end", second, usual)
		})
	})
}

// TestPriorityOfChore: a loop does its chore without the priority while others want the processor, and keeps it where none do.
func TestPriorityOfChore(t *testing.T) {
	usual, raised := raisable(t)
	for _, test := range []struct {
		name string
		owes bool          // the moment was a bit of the chore, which says nothing of others
		took time.Duration // the moment
		nice int
	}{
		{"nobody wanted it", false, emptyPass, raised},
		{"somebody did", false, emptyPass + 1, usual},
		{"a bit of the chore", true, emptyPass + 1, raised},
	} {
		t.Run(test.name, func(t *testing.T) {
			onThread(func() {
				now := time.Now()
				l := &loop{chore: &chore{left: 1, due: now}, owes: test.owes, priority: priority{raised: raised, usual: usual}}
				l.priority.raise()
				defer l.priority.lower()
				l.passed(now.Add(-test.took), now)
				if !l.doChore(now) {
					t.Error("the chore was not done")
				}
				if has, err := sock.Nice(sock.Thread()); err != nil || has != test.nice {
					t.Errorf("nice %d, %v, want %d", has, err, test.nice)
				}
			})
		})
	}
}

// TestNoPriority: where none is asked for threads keep what they have.
func TestNoPriority(t *testing.T) {
	onThread(func() {
		usual, err := sock.Nice(sock.Thread())
		if err != nil {
			t.Error(err)
		}
		for _, p := range []priority{{}, {raised: usual, usual: usual}} {
			p.follow()
			if has, err := sock.Nice(sock.Thread()); err != nil || has != usual {
				t.Errorf("%+v: nice %d, %v, want %d", p, has, err, usual)
			}
			p.lower()
		}
	})
}

// TestPriorityOfLoops: a relay raises the threads of its loops alone, and none when it has ended.
func TestPriorityOfLoops(t *testing.T) {
	_, raised := raisable(t)
	has := func() (n int) {
		threads, err := sock.Threads()
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			if nice, err := sock.Nice(thread); err == nil && nice == raised {
				n++
			}
		}
		return n
	}
	r := newRig(t, Config{Nice: raised}, nil)
	loops := runtime.GOMAXPROCS(0)
	if !eventually(func() bool { return has() == loops }) {
		t.Errorf("%d threads are raised, of %d loops", has(), loops)
	}
	r.stop()
	if n := has(); n > 0 {
		t.Errorf("%d threads are raised after the end", n)
	}
}
