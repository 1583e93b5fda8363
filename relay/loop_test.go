// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestEventOfAnother: what comes late, of a socket that had the descriptor before, is nothing to a leg.
func TestEventOfAnother(t *testing.T) {
	l, err := newLoop(&Server{cfg: Config{Chore: func() Chore { return noChore{} }}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
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
