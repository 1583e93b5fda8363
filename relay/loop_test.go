// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/relay/sock"
	"github.com/sightglass/sightglass/session"
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

// newEstablished makes a flow of a loop, whose peers are the descriptors returned. They have said something.
func newEstablished(t *testing.T, l *loop, e *fake) (f *flow, peers [2]int) {
	t.Helper()
	f = newFlow(l, -1, connection{start: time.Now()})
	for side := range f.legs {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.legs[side].fd, peers[side] = pair[0], pair[1]
		t.Cleanup(func() { _ = unix.Close(pair[1]) })
		t.Cleanup(f.legs[side].close)
		if err := l.follow(&f.legs[side]); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(pair[1], []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	f.engine = guard{engine: e}
	f.last = f.last.Add(1)
	f.look(time.Now())
	l.flows[f] = struct{}{}
	l.load.Add(1)
	return f, peers
}

// knock has a loop listen, and a client connect. It returns what the loop is told of that.
func knock(t *testing.T, l *loop) (events []unix.EpollEvent) {
	t.Helper()
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	sockets, err := takeOver([]net.Listener{ln})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.listen(sockets); err != nil {
		t.Fatal(err)
	}
	closeAll(sockets)
	t.Cleanup(l.stopAccepting)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for fd := range l.listeners {
		waitFor(t, int(fd), unix.POLLIN)
		events = append(events, unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd})
	}
	return events
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
		l.tell(&unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(g.fd), Pad: test.mark})
		if g.writable != test.want {
			t.Errorf("marked %d of %d: writable %v", test.mark, g.mark, g.writable)
		}
	}
}

// TestRound: steps of handshakes go before new connections, and these before what else the flows have, in whatever order the
// sockets tell.
func TestRound(t *testing.T) {
	var order []string
	cfg := Config{Connect: func(netip.AddrPort, netip.AddrPort, ...sock.Option) (int, error) {
		order = append(order, "connection")
		return -1, unix.ECONNREFUSED
	}}
	cfg.NewEngine = func(f session.Flow) Engine { return &fake{flow: f} }
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	l := newLoops(t, 1, cfg)[0]
	var events []unix.EpollEvent
	established := func(name string, busy bool) {
		f, _ := newEstablished(t, l, &fake{busy: busy, onFeed: func(*fake, handshake.Side, []byte) { order = append(order, name) }})
		events = append(events, unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(f.legs[client].fd), Pad: f.legs[client].mark})
	}
	established("data", false)

	events = append(events, knock(t, l)...)
	established("handshake", true)
	if err := l.round(events, time.Now()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"handshake", "connection", "data"}; !slices.Equal(order, want) {
		t.Errorf("the order was %v, want %v", order, want)
	}
}

// TestRoundIsFair: however long the steps of handshakes take, the others have as much.
func TestRoundIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoops(t, 1, Config{Observer: NopObserver{}})[0]
		done := make(map[string]int)
		answered := func(name string, takes time.Duration, held string) {
			f := newFlow(l, -1, connection{})
			e := &fake{ended: make(chan struct{}), onResume: func() {
				done[name]++
				time.Sleep(takes)
			}}
			f.engine, f.closed, f.answered = guard{engine: e}, true, true
			f.dirs[server].held = []byte(held)
			l.later(f)
		}
		answered("step", 10*time.Millisecond, "held")
		for range 20 {
			answered("other", time.Millisecond, "")
		}
		for round, want := range []int{11, 12} { // and then one a round
			if err := l.round(nil, time.Now()); err != nil {
				t.Fatal(err)
			}
			if done["step"] != 1 || done["other"] != want {
				t.Errorf("round %d: %v, want 1 step and %d others", round, done, want)
			}
		}
	})
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
