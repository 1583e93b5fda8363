// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// newLoops makes loops that do not run, and ends them with the test.
func newLoops(t *testing.T, n int, cfg Config) []*loop {
	t.Helper()
	srv := &Server{cfg: cfg}
	for range n {
		l, err := newLoop(srv)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.close)
		srv.loops = append(srv.loops, l)
	}
	return srv.loops
}

// TestEventOfAnother: what comes late, of a socket that had the descriptor before, is nothing to a leg.
func TestEventOfAnother(t *testing.T) {
	l := newLoops(t, 1, Config{})[0]
	var before, g leg
	for _, next := range []*leg{&before, &g} {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		*next = leg{flow: &flow{loop: l}, fd: fd}
		if err := l.follow(next); err != nil {
			t.Fatal(err)
		}
		if next == &before {
			before.close()
		}
	}
	defer g.close()
	for _, test := range []struct {
		mark int32
		want bool
	}{{before.mark, false}, {g.mark, true}} {
		if err := l.tell(&unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(g.fd), Pad: test.mark}); err != nil {
			t.Fatal(err)
		}
		if g.writable != test.want {
			t.Errorf("marked %d of %d: writable %v", test.mark, g.mark, g.writable)
		}
	}
}

// TestPostWakes: of what two loops post to each other nothing is lost, however they are about to fall asleep.
func TestPostWakes(t *testing.T) {
	loops := newLoops(t, 2, Config{Chore: func() Chore { return noChore{} }})
	const turns = 20_000
	var toss func(turn int)
	toss = func(turn int) {
		next := loops[turn%2]
		if turn == turns {
			loops[0].post(loops[0].stopAccepting)
			loops[1].post(loops[1].stopAccepting)
		} else if !next.post(func() { toss(turn + 1) }) {
			t.Errorf("turn %d: the loop has ended", turn)
		}
	}
	var running sync.WaitGroup
	for _, l := range loops {
		running.Go(func() { l.run(func(err error) { t.Error(err) }) })
	}
	toss(0)
	running.Wait()
}
