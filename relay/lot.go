// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

const (
	// parkedBytes is what a direction's goroutine gives back when it is parked: its stack, which
	// grows when the engine is fed and seldom shrinks to less than this.
	parkedBytes = 4 << 10
	// collectAfter is how much of that makes a collection worth its while, for only a collection
	// gives stacks back; and collectEvery how often that may be.
	collectAfter = 4 << 20
	collectEvery = 10 * time.Second
)

// lot keeps directions on which nothing happens, without their goroutines, until something can be
// read: thousands of idle flows then have no stacks. It has an epoll of its own, which the runtime's
// poller watches like any other file.
type lot struct {
	file *os.File
	raw  syscall.RawConn

	mu     sync.Mutex
	next   uint64
	parked map[uint64]*direction
	gone   int // parked since the last collection
}

func newLot() (*lot, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	l := &lot{file: os.NewFile(uintptr(fd), "epoll"), parked: make(map[uint64]*direction)}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		_ = l.file.Close()
		return nil, err
	}
	return l, nil
}

func (l *lot) close() { _ = l.file.Close() }

// add keeps d until its leg can be read or has an error. Called with the flow's lock held.
func (l *lot) add(d *direction) error {
	l.mu.Lock()
	l.next++
	ticket := l.next
	l.parked[ticket] = d
	l.gone++
	l.mu.Unlock()
	d.ticket = ticket
	err := l.control(d, unix.EPOLL_CTL_ADD, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT,
		Fd:     int32(uint32(ticket)), Pad: int32(uint32(ticket >> 32)),
	})
	if err != nil {
		l.forget(ticket)
	}
	return err
}

// remove lets d go. Called with the flow's lock held, while the leg is open.
func (l *lot) remove(d *direction) {
	l.forget(d.ticket)
	_ = l.control(d, unix.EPOLL_CTL_DEL, nil)
}

func (l *lot) forget(ticket uint64) {
	l.mu.Lock()
	delete(l.parked, ticket)
	l.mu.Unlock()
}

func (l *lot) control(d *direction, op int, event *unix.EpollEvent) error {
	var outer, inner error
	err := l.raw.Control(func(epoll uintptr) {
		outer = d.src.raw.Control(func(fd uintptr) {
			inner = unix.EpollCtl(int(epoll), op, int(fd), event)
		})
	})
	return errors.Join(err, outer, inner)
}

// run wakes directions that have something to read, until the lot is closed.
func (l *lot) run() {
	events := make([]unix.EpollEvent, 64)
	for {
		var n int
		err := l.raw.Read(func(fd uintptr) bool {
			var err error
			n, err = retry(func() (int, error) { return unix.EpollWait(int(fd), events, 0) })
			return n > 0 || err != nil
		})
		if err != nil {
			return
		}
		for _, e := range events[:max(n, 0)] {
			ticket := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			l.mu.Lock()
			d := l.parked[ticket]
			l.mu.Unlock()
			if d != nil {
				d.unpark(ticket)
			}
		}
	}
}

// collect gives the stacks of what was parked back to the system, if they are many.
func (l *lot) collect() bool {
	l.mu.Lock()
	worth := l.gone*parkedBytes >= collectAfter
	if worth {
		l.gone = 0
	}
	l.mu.Unlock()
	if worth {
		runtime.GC()
	}
	return worth
}

// sweep parks what has been idle for long, until stop is closed.
func (s *Server) sweep(stop <-chan struct{}) {
	tick := time.NewTicker(s.cfg.ParkAfter / 2)
	defer tick.Stop()
	var collected time.Time
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			for i := range s.shards {
				s.shards[i].each(func(f *flow) { f.park(now) })
			}
			if now.Sub(collected) >= collectEvery && s.lot.collect() {
				collected = now
			}
		}
	}
}

// park has the directions of a flow on which nothing happens leave their goroutines.
func (f *flow) park(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.engine.engine == nil || !f.limit.IsZero() || f.idleFor(now) < f.srv.cfg.ParkAfter {
		return
	}
	for i := range f.dirs {
		if d := &f.dirs[i]; d.mayPark() && !d.poked {
			d.leave = true
			d.poke()
		}
	}
}

// mayPark reports whether nothing is to be done for the direction but to wait for bytes. Called with
// flow.mu held.
func (d *direction) mayPark() bool {
	return !d.parked && !d.over && !d.stalled && len(d.held) == 0 && d.told != session.Refuse
}

// unpark starts the direction's goroutine again, if it is still parked under that ticket.
func (d *direction) unpark(ticket uint64) {
	d.flow.mu.Lock()
	defer d.flow.mu.Unlock()
	if d.parked && d.ticket == ticket {
		d.resume()
	}
}

// resume starts the goroutine of a parked direction. Called with flow.mu held, while the legs are
// open.
func (d *direction) resume() {
	d.flow.srv.lot.remove(d)
	d.parked = false
	go d.run()
}
