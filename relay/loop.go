// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/relay/sock"
	"golang.org/x/sys/unix"
)

// loop carries flows on one goroutine, from the accept to the end: none of them needs a lock, a goroutine
// or a stack of its own, and what a flow's peers wait for passes from one thread to no other.
type loop struct {
	srv   *Server
	epoll int
	event int // an eventfd: there is something in the inbox of a loop that sleeps
	load  atomic.Int64
	counters

	listeners map[int32]listener
	enlisted  bool // takes connections: the first loop always does, others while they help
	accepting bool // the listeners are in the epoll
	stopping  bool // no more connections are taken
	hurry     bool // and flows have no more time to end
	pause     time.Duration
	resumeAt  time.Time // accepting goes on; zero: when there is room

	flows  map[*flow]struct{}
	legs   []*leg  // by descriptor
	mark   int32   // of the last leg that the loop was to be told of
	steps  queue   // flows in a handshake
	ready  queue   // the others
	knocks []int32 // listeners that have connections, in this round
	timers timers
	asking []*flow   // they will ask the private key
	askAt  time.Time // when the first of them does; zero: none

	priority    priority
	awake       awake
	chore       Chore
	owes        bool      // a bit of it was done, and nobody had his turn since
	amid        time.Time // until then a handshake is likely to go on
	lingering   time.Time // until then the next step of one is waited for awake
	contended   bool      // when the loop last gave way, somebody else had the processor
	contendedAt time.Time // when it last was so

	workload
	turned time.Time // when others last had their turn

	spare [len(bufferSizes)][]*buffer

	inbox   atomic.Pointer[posted] // the last first
	asleep  atomic.Bool            // or about to be: what is posted has to wake it
	posting atomic.Int32
}

// posted is what is to be done on a loop. No lock guards the inbox: who posts may be a worker of the
// private key, which has to give way to other threads, and the loop would wait for it.
type posted struct {
	do     func()
	before *posted
}

// sealed is the inbox of a loop that takes nothing any more.
var sealed = new(posted)

// legEvents are what a loop is told of a leg, once each time that it becomes so.
const legEvents = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff

func newLoop(s *Server) (*loop, error) {
	l := &loop{
		srv: s, epoll: -1, event: -1,
		listeners: make(map[int32]listener), flows: make(map[*flow]struct{}),
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if l.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		err = os.NewSyscallError("eventfd", err)
	} else {
		err = l.watch(l.event, unix.EPOLLIN|unix.EPOLLET&0xffffffff, 0) // nobody reads it
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// close gives up the loop's own descriptors. It does not run any more.
func (l *loop) close() {
	l.inbox.Store(sealed)
	for l.posting.Load() > 0 {
		runtime.Gosched() // somebody is about to write to the event
	}
	l.stopAccepting()
	for _, fd := range []*int{&l.epoll, &l.event} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// watch has the loop told of a descriptor, with a mark that comes with it.
func (l *loop) watch(fd int, events uint32, mark int32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd), Pad: mark}))
}

// post has do called on the loop, soon. It returns false if the loop has ended.
func (l *loop) post(do func()) bool {
	l.posting.Add(1)
	defer l.posting.Add(-1)
	for {
		last := l.inbox.Load()
		if last == sealed {
			return false
		}
		if l.inbox.CompareAndSwap(last, &posted{do, last}) {
			break
		}
	}
	if l.asleep.Load() {
		one := [8]byte{1}
		_, _ = sock.Write(l.event, one[:])
	}
	return true
}

// called reports whether there is something in the inbox.
func (l *loop) called() bool { return l.inbox.Load() != nil }

// takeInbox does what was posted, in its order.
func (l *loop) takeInbox() {
	var first *posted
	for p := l.inbox.Swap(nil); p != nil; {
		p.before, first, p = first, p, p.before
	}
	for p := first; p != nil; p = p.before {
		p.do()
	}
}

// leg returns the leg that has a descriptor; nil if none of this loop has.
func (l *loop) leg(fd int) *leg {
	if fd < len(l.legs) {
		return l.legs[fd]
	}
	return nil
}

// follow has the loop be told of a leg.
func (l *loop) follow(g *leg) error {
	if short := g.fd + 1 - len(l.legs); short > 0 {
		l.legs = append(l.legs, make([]*leg, short)...)
	}
	l.legs[g.fd] = g
	l.mark++
	g.mark = l.mark
	return l.watch(g.fd, legEvents, g.mark)
}

// forget has the loop not told of a leg any more.
func (l *loop) forget(g *leg) {
	l.legs[g.fd] = nil
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, g.fd, nil)
}

// run carries the flows until the loop was told to stop and the last of them is over. A listener that
// fails for good is told to failed.
func (l *loop) run(failed context.CancelCauseFunc) {
	l.chore = l.srv.cfg.Chore()
	defer l.chore.Close() // what it is in the middle of may be waited for by other loops' flows
	if nice := l.srv.cfg.Nice; nice != 0 {
		l.priority = priority{raised: nice, usual: l.srv.usual}
	}
	defer l.priority.lower()
	if l.srv.cfg.KeepAwake {
		l.awake.open()
		defer l.awake.close()
	}
	events := make([]unix.EpollEvent, 128)
	for !l.finished() {
		l.priority.follow()
		from := time.Now() // it works: to look at the sockets is idle only where they have nothing to tell
		n, err := l.wait(events)
		if err != nil {
			failed(fmt.Errorf("relay: %w", os.NewSyscallError("epoll_wait", err)))
			l.stopAccepting()
			l.shutdown()
			return
		}
		l.priority.raise()
		begun := time.Now()
		if l.idled {
			from = begun
		}
		if err := l.round(events[:n], begun); err != nil {
			failed(err)
		}
		now := time.Now()
		l.tick(now)
		if l.pressed(now) && !(l.busy && l.chore.Spare(now) && l.rouse()) {
			l.press(now.Sub(begun))
		}
		l.worked += now.Sub(from)
		l.weigh(now)
		l.giveTurn(now)
	}
}

// moment is how long a round carries on what is no step of a handshake before it is looked again whether there is one. It is as
// long as the steps took, if that is more: half of the time is for the bytes of those who are there, whoever knocks.
const moment = 50 * time.Microsecond

// round does what there is to do now: what somebody waits for first, and of that what takes little. The error is of a listener
// that fails for good.
func (l *loop) round(events []unix.EpollEvent, begun time.Time) error {
	for i := range events {
		l.tell(&events[i])
	}
	l.steps.carryOn(time.Time{})
	err := l.acceptAll()
	if l.called() {
		l.takeInbox()
	}
	if !l.ready.empty() {
		now := time.Now()
		l.ready.carryOn(now.Add(max(moment, now.Sub(begun))))
	}
	return err
}

// tell passes on what happened to a descriptor.
func (l *loop) tell(e *unix.EpollEvent) {
	if leg := l.leg(int(e.Fd)); leg != nil {
		if leg.mark == e.Pad { // or it is of a socket that had the descriptor a moment ago
			leg.happened(e.Events)
		}
	} else if _, ok := l.listeners[e.Fd]; ok {
		l.knocks = append(l.knocks, e.Fd)
	}
}

// turn is less than the 10 ms that Go's scheduler lets a goroutine run. One that runs longer is interrupted, by a signal; its
// system calls, however short, lose it its processor; and the scheduler's own thread looks for more of the kind
// every 20 µs. All that took a twentieth of a busy box's time.
const turn = 8 * time.Millisecond

// giveTurn lets other goroutines run before the scheduler would see to it.
func (l *loop) giveTurn(now time.Time) {
	if now.Sub(l.turned) > turn {
		l.turned = now
		runtime.Gosched()
	}
}

// pressedFor bounds how long a chore that is pressed keeps a loop from its sockets at a time.
const pressedFor = 500 * time.Microsecond

// pressed reports whether the chore has to be done though there is no moment to spare.
func (l *loop) pressed(now time.Time) bool {
	return l.chore.Pressed(now) || l.srv.backlog.Load() > int64(l.srv.cfg.PressAbove)
}

// press has the chore done though there is no moment to spare, for as long as all else took in this round. That may have been
// long because others had the processor.
func (l *loop) press(took time.Duration) {
	took = min(took, pressedFor)
	begun := time.Now()
	for l.chore.Step() && time.Since(begun) < took {
	}
	l.worked += time.Since(begun)
}

// rouse wakes a loop that sleeps, and so has moments to spare, and reports whether one does that nobody woke before.
func (l *loop) rouse() bool {
	for _, other := range l.srv.loops {
		if other.asleep.Load() && !other.called() {
			return other.post(func() {})
		}
	}
	return false
}

// wait takes what the sockets have to tell. It waits awake for that as long as it has what to do meanwhile, and then asleep, until
// something is to be done without.
func (l *loop) wait(events []unix.EpollEvent) (int, error) {
	var before time.Time // when the last moment was passed
	l.idled = false
	for {
		n, err := sock.Events(l.epoll, events)
		if n > 0 || err != nil {
			return n, err
		}
		if l.called() || l.patience(time.Time{}) == 0 {
			return 0, nil
		}
		l.idled = true
		now := time.Now()
		if !before.IsZero() {
			l.passed(before, now)
		}
		before = now
		if !l.pass(now) {
			break
		}
		if now.Sub(l.turned) > turn {
			return 0, nil
		}
	}
	l.retire()
	l.priority.raise() // who wakes it waits for it
	l.asleep.Store(true)
	defer l.asleep.Store(false)
	if l.called() { // before others could know that it has to be woken
		return 0, nil
	}
	return retry(func() (int, error) { return unix.EpollWait(l.epoll, events, l.patience(l.chore.Due())) })
}

// After a step of a handshake a loop lingers for as long as a peer on the same network takes for the next: it looks again and
// again. A peer answers in less time than it takes to wake a thread, on a virtual machine above all. Meanwhile it does its
// chore: what is done of that while the loop is awake anyway leaves it more time to sleep, and the peers may have its processor
// then. Where to be woken takes little it lingers for less: others may have the processor at once, and the kernel sees that it idles.
const (
	lingerFor   = 400 * time.Microsecond
	lingerAwake = 60 * time.Microsecond
	emptyPass   = 5 * time.Microsecond // to give way to nobody, and to look at the sockets, takes 1 µs
)

// linger has the loop linger from now on.
func (l *loop) linger(now time.Time) {
	l.amid = now.Add(lingerFor)
	l.lingering = l.amid
	if l.awake.stay(now) {
		l.lingering = now.Add(lingerAwake)
	}
}

// pass passes a moment in which the sockets tell nothing: the loop does a bit of the chore, or gives way to who wants the
// processor. Between the two it looks at the sockets. It returns false if there is no reason to be awake.
func (l *loop) pass(now time.Time) bool {
	switch {
	case l.owes:
	case l.doChore(now):
		l.owes = true
		return true
	case !now.Before(l.lingering):
		return false
	}
	l.owes = false
	sock.Yield() // the peers may want the processor, and what they do with it is waited for
	return true
}

// passed takes note of whether others wanted the processor in the last moment, from then until now.
func (l *loop) passed(from, now time.Time) {
	if !l.owes { // it gave way
		if l.contended = now.Sub(from) > emptyPass; l.contended {
			l.contendedAt = now
		}
	}
}

// Where handshakes are on their way, and others have wanted the processor lately, these are their peers, most likely: the chore
// waits until no next step is expected, but not for ever.
const (
	choreApart = 50 * time.Millisecond
	choreWaits = 500 * time.Millisecond
)

// doChore does a bit of the chore, if there is something to do, as one among others that want the processor. Where nobody did
// the priority stays: to lower and to raise it are two system calls for 8 to 40 µs of the chore.
func (l *loop) doChore(now time.Time) bool {
	due := l.chore.Due()
	if due.IsZero() || now.Before(due) {
		return false
	}
	if now.Before(l.lingering) && now.Sub(l.contendedAt) < choreApart && now.Sub(due) < choreWaits && !l.pressed(now) {
		return false
	}
	if l.contended {
		l.priority.lower()
	}
	return l.chore.Step()
}

// finished reports whether nothing is left to do, and nothing can come any more.
func (l *loop) finished() bool {
	if !l.stopping || len(l.flows) > 0 {
		return false
	}
	return l.inbox.CompareAndSwap(nil, sealed)
}

// patience returns how long nothing needs to be done but for what the sockets tell, in milliseconds, if nothing else is
// at a time; zero: at none.
func (l *loop) patience(at time.Time) int {
	if !l.steps.empty() || !l.ready.empty() {
		return 0
	}
	if len(l.timers) > 0 && (at.IsZero() || l.timers[0].at.Before(at)) {
		at = l.timers[0].at
	}
	if !l.askAt.IsZero() && (at.IsZero() || l.askAt.Before(at)) {
		at = l.askAt
	}
	if !l.awake.until.IsZero() && (at.IsZero() || l.awake.until.Before(at)) {
		at = l.awake.until
	}
	if l.enlisted && !l.accepting && (at.IsZero() || l.resumeAt.Before(at)) {
		at = l.resumeAt
	}
	if at.IsZero() {
		return -1
	}
	const longest = time.Hour
	wait := min(max(time.Until(at), 0), longest)
	return int((wait + time.Millisecond - 1) / time.Millisecond)
}

// later has a flow carried on, in this round or the next.
func (l *loop) later(f *flow) {
	if f.inHandshake() {
		l.steps.add(f)
	} else {
		l.ready.add(f)
	}
}

// tick does what is due.
func (l *loop) tick(now time.Time) {
	l.awake.rest(now)
	for len(l.timers) > 0 && !now.Before(l.timers[0].at) {
		f := l.timers[0]
		l.timers.remove(f)
		f.tick(now)
	}
	if !l.askAt.IsZero() && !now.Before(l.askAt) {
		l.ask()
	}
	if l.enlisted && !l.accepting && !now.Before(l.resumeAt) {
		l.resumeAccepting(now)
	}
}

// askAfter is how long a handshake's secret is put off by default: a peer on the same network has answered by then.
const askAfter = time.Millisecond

func (l *loop) askLater(f *flow, now time.Time) {
	if l.askAt.IsZero() {
		l.askAt = now.Add(l.srv.cfg.askAfter)
	}
	l.asking = append(l.asking, f)
	f.bound++
}

// ask has the flows ask the private key that were to. The last of them may have waited a little less.
func (l *loop) ask() {
	for i, f := range l.asking {
		l.asking[i] = nil
		f.bound--
		f.ask()
	}
	l.asking, l.askAt = l.asking[:0], time.Time{}
}

// shutdown resets what is left, because the server stops.
func (l *loop) shutdown() {
	l.hurry = true
	for f := range l.flows {
		f.shutdown()
	}
}
