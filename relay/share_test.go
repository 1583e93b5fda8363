// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/sightglass/sightglass/relay/sock"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

func noEngine(session.Flow) Engine { return nil }

// TestWeigh: a loop is busy that worked for more than its share of a span, until the next has ended.
func TestWeigh(t *testing.T) {
	now := time.Now()
	w := workload{since: now}
	const most = busySpan * busyPercent / 100
	for i, test := range []struct {
		passed, worked time.Duration
		busy           bool
	}{
		{busySpan / 2, busySpan / 2, false}, // the span goes on
		{busySpan / 2, most - busySpan/2, false},
		{busySpan, most + 1, true},
		{busySpan - 1, 0, true},
		{1, 0, false},
		{time.Hour, busySpan, false}, // it slept
	} {
		now = now.Add(test.passed)
		w.worked += test.worked
		if w.weigh(now); w.busy != test.busy {
			t.Errorf("%d: busy %v, want %v", i, w.busy, test.busy)
		}
	}
	w = workload{worked: most}
	if w.weigh(now); w.busy {
		t.Error("busy from the beginning")
	}
}

// TestIdled: a loop idles where the sockets have nothing to tell, and not while it looks at them and they have.
func TestIdled(t *testing.T) {
	l := newLoops(t, 1, Config{})[0]
	l.chore = noChore{}
	events := make([]unix.EpollEvent, 1)
	tell := func() {
		if _, err := unix.Write(l.event, binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		set  func()
		told int
		want bool
	}{
		{"a descriptor tells something", tell, 1, false},
		{"something was posted", func() { l.post(func() {}) }, 0, false},
		{"nothing, until it is time for something", func() {
			l.takeInbox()
			l.askAt = time.Now().Add(time.Millisecond)
		}, 0, true},
		{"a descriptor again", tell, 1, false},
	} {
		test.set()
		if n, err := l.wait(events); n != test.told || err != nil || l.idled != test.want {
			t.Errorf("%s: %d events, idled %v, error %v", test.name, n, l.idled, err)
		}
	}
}

// TestShareNew: a busy loop gives a new flow to one that has less to do, which then takes connections itself, until it sleeps.
func TestShareNew(t *testing.T) {
	for _, test := range []struct {
		busy   bool
		load   int64
		shares bool
	}{{true, 1, true}, {true, 0, false}, {false, 1, false}} {
		begun := 0
		cfg := Config{Connect: func(netip.AddrPort, netip.AddrPort, ...sock.Option) (int, error) {
			begun++
			return -1, unix.ECONNREFUSED
		}, NewEngine: noEngine}
		if err := cfg.setDefaults(); err != nil {
			t.Fatal(err)
		}
		loops := newLoops(t, 2, cfg)
		l, other := loops[0], loops[1]
		if err := other.listen(nil); err != nil {
			t.Fatal(err)
		}
		events := knock(t, l)
		l.busy = test.busy
		l.load.Store(test.load)
		l.srv.loops = loops[1:] // whom chance finds
		if err := l.round(events, time.Now()); err != nil {
			t.Fatal(err)
		}
		l.srv.loops = loops
		if shared := other.called(); shared != test.shares || (begun > 0) == shared {
			t.Errorf("%+v: shared %v, begun %d", test, shared, begun)
		}
		other.takeInbox()
		if begun != 1 || other.accepting != test.shares {
			t.Errorf("%+v: %d flows begun, the other takes connections: %v", test, begun, other.accepting)
		}
		l.retire()
		other.retire()
		if !l.accepting || other.accepting {
			t.Errorf("%+v: connections are taken by the first: %v, by the other: %v", test, l.accepting, other.accepting)
		}
	}
}

// TestMove: a flow goes on at another loop, unless something of it is to come back to this one or it is in a handshake.
func TestMove(t *testing.T) {
	cfg := Config{alwaysShare: true, NewEngine: noEngine}
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		set  func(f *flow, e *fake)
		want bool
	}{
		{"established", func(*flow, *fake) {}, true},
		{"its turn to ask is to come", func(f *flow, _ *fake) { f.loop.askLater(f, time.Now()) }, false},
		{"an answer is to come", func(f *flow, e *fake) {
			e.secret, _ = rsakex.NewSecret()
			f.ask()
		}, false},
		{"in a handshake", func(_ *flow, e *fake) { e.busy = true }, false},
		{"it is queued", func(f *flow, _ *fake) { f.loop.later(f) }, false},
	} {
		loops := newLoops(t, 2, cfg)
		l, other := loops[0], loops[1]
		e := &fake{ended: make(chan struct{})}
		f, peers := newEstablished(t, l, e)
		l.srv.loops = loops[1:]
		if _, err := unix.Write(peers[client], make([]byte, 2*bufferSizes[0])); err != nil {
			t.Fatal(err)
		}
		for i := range f.legs {
			f.legs[i].readable, f.legs[i].writable = true, true
		}
		test.set(f, e)
		f.look(time.Now())
		f.run()
		if moved := f.loop == other; moved != test.want {
			t.Errorf("%s: moved %v", test.name, moved)
			continue
		}
		if !test.want {
			continue
		}
		if len(l.flows) != 0 || len(l.timers) != 0 || l.load.Load() != 0 || other.load.Load() != 1 {
			t.Errorf("%s: left behind: %d flows, %d timers; loads %d and %d", test.name, len(l.flows), len(l.timers), l.load.Load(), other.load.Load())
		}
		other.takeInbox()
		events := make([]unix.EpollEvent, 4)
		n, err := sock.Events(other.epoll, events)
		if n != 2 || err != nil {
			t.Fatalf("%s: %d events, error %v", test.name, n, err)
		}
		if err := other.round(events[:n], time.Now()); err != nil {
			t.Fatal(err)
		}
		if len(e.fed[client]) <= bufferSizes[0] {
			t.Errorf("%s: the other loop carried nothing on", test.name)
		}
		if n, _ := sock.Events(l.epoll, events); n != 0 {
			t.Errorf("%s: the first loop was told of %d things", test.name, n)
		}
	}
}

// TestMoveAtTheEnd: where the server stops a flow that is on its way ends, and one that no loop takes any more stays.
func TestMoveAtTheEnd(t *testing.T) {
	cfg := Config{NewEngine: noEngine}
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	loops := newLoops(t, 2, cfg)
	l, other := loops[0], loops[1]
	hurried, _ := newEstablished(t, l, &fake{ended: make(chan struct{})})
	stays, _ := newEstablished(t, l, &fake{ended: make(chan struct{})})
	l.move(hurried, other)
	other.shutdown()
	other.takeInbox()
	if !hurried.ended || hurried.reason != EndedByShutdown || other.load.Load() != 0 {
		t.Errorf("ended %v, reason %v; %d flows left", hurried.ended, hurried.reason, other.load.Load())
	}
	other.close()
	l.move(stays, other)
	if stays.loop != l || len(l.flows) != 1 || l.load.Load() != 1 || l.leg(stays.legs[server].fd) == nil {
		t.Errorf("the flow is lost; %d flows, load %d", len(l.flows), l.load.Load())
	}
}
