// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/sightglass/sightglass/relay/sock"
	"golang.org/x/sys/unix"
)

// listen gives the loop the sockets, on which the first of the loops accepts from now on.
func (l *loop) listen(sockets []listener) error {
	for _, s := range sockets {
		fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("fcntl", err)
		}
		l.listeners[int32(fd)] = listener{fd, s.addr}
	}
	if l != l.srv.loops[0] {
		return nil
	}
	l.enlisted = true
	return l.startAccepting()
}

// startAccepting has the loop told of connections: of the loops that wait, one is woken.
func (l *loop) startAccepting() error {
	var errs []error
	for fd := range l.listeners {
		errs = append(errs, l.watch(int(fd), unix.EPOLLIN|unix.EPOLLEXCLUSIVE, 0))
	}
	l.accepting = true
	return errors.Join(errs...)
}

// stopAccepting is for good: the sockets are closed when the last loop has.
func (l *loop) stopAccepting() {
	l.pauseAccepting(time.Time{})
	l.stopping, l.enlisted = true, false
	for fd := range l.listeners {
		_ = unix.Close(int(fd))
	}
	clear(l.listeners)
}

// pauseAccepting takes no connections until a time.
func (l *loop) pauseAccepting(until time.Time) {
	if l.accepting {
		for fd := range l.listeners {
			_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, int(fd), nil)
		}
	}
	l.accepting, l.resumeAt = false, until
}

// recheck is how often it is looked whether there is room for new connections again.
const recheck = time.Millisecond

func (l *loop) resumeAccepting(now time.Time) {
	if !l.room() {
		l.resumeAt = now.Add(recheck)
		return
	}
	if err := l.startAccepting(); err != nil {
		l.acceptFailed(fmt.Errorf("accepting goes on: %w", err))
	}
}

func (l *loop) room() bool { return l.srv.cfg.Room == nil || l.srv.cfg.Room() }

// acceptsARound is how many connections a listener's are taken at a time, at most. It tells again if there are more.
const acceptsARound = 8

// acceptAll takes the connections of the listeners that have some. The error is of one that fails for good.
func (l *loop) acceptAll() error {
	var failed error
	for _, fd := range l.knocks {
		for range acceptsARound {
			if more, err := l.accept(l.listeners[fd]); !more {
				failed = errors.Join(failed, err)
				break
			}
		}
	}
	l.knocks = l.knocks[:0]
	return failed
}

// accept takes a connection, and returns whether there may be more.
func (l *loop) accept(ln listener) (more bool, err error) {
	if !l.room() {
		l.pauseAccepting(time.Now().Add(recheck))
		return false, nil
	}
	fd, client, err := sock.Accept(ln.fd)
	switch {
	case err == nil:
		l.pause = 0
		l.take(fd, client)
		return true, nil
	case err == unix.EAGAIN:
		return false, nil
	}
	err = fmt.Errorf("accepting on %v: %w", ln.addr, os.NewSyscallError("accept4", err))
	if !passing(err) {
		return false, err
	}
	l.acceptFailed(err)
	return false, nil
}

// acceptFailed waits a while: out of descriptors or memory, flows that end give some back.
func (l *loop) acceptFailed(err error) {
	l.acceptFailures.Add(1)
	l.srv.cfg.Observer.AcceptFailed(err)
	l.pause = min(max(2*l.pause, 5*time.Millisecond), time.Second)
	l.pauseAccepting(time.Now().Add(l.pause))
}

// take begins a flow for an accepted connection, or refuses the connection with a reset.
func (l *loop) take(fd int, client netip.AddrPort) {
	l.accepted.Add(1)
	target, _ := sock.Local(fd) // an accepted connection has one
	s := l.srv
	if s.active.Add(1) > int64(s.cfg.MaxFlows) {
		s.active.Add(-1)
		l.overLimit.Add(1)
		reset(fd)
		s.cfg.Observer.OverLimit(client, target)
		return
	}
	c := connection{id: s.ids.Add(1), client: client, server: target, start: time.Now()}
	l.load.Add(1)
	if other := l.lighter(); other != nil && l.handOver(other, func() { other.help(fd, c) }) {
		return
	}
	l.begin(fd, c)
}

func (l *loop) begin(fd int, c connection) {
	f := newFlow(l, fd, c)
	l.flows[f] = struct{}{}
	f.open()
}

// help begins a flow that a busy loop accepted.
func (l *loop) help(fd int, c connection) {
	l.enlist()
	l.begin(fd, c)
}
