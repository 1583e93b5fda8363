// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
)

// queuedKind says what waits.
type queuedKind uint8

const (
	queuedRecord queuedKind = iota
	queuedEvent
)

// queued is what came while a secret was awaited, in order of arrival over both directions.
type queued struct {
	kind   queuedKind
	event  Kind
	side   handshake.Side
	time   time.Time
	at     uint64 // offset of record
	record []byte
}

// Waiting returns the secret that the engine waits for, or nil. When it is ready the feed calls
// Resume.
func (s *Session) Waiting() *rsakex.Secret { return s.waiting }

// Backlog returns the bytes queued while the private key is at work. A feed stops reading while it
// is over MaxBacklog; at twice that the flow fails with overload.
func (s *Session) Backlog() int {
	if s.waiting == nil {
		return 0
	}
	return s.queueSize
}

// Resume goes on with what was queued: the secret that Waiting returned is ready.
func (s *Session) Resume(t time.Time) {
	if s.ended {
		return
	}
	s.drain()
	s.now = t
	s.settle()
	s.pass()
}

func (s *Session) blocked() bool { return s.waiting != nil || s.waitsLog || len(s.queue) > 0 }

// usualQueue is how much comes from a ClientKeyExchange to the end of a short connection.
const usualQueue = 8

func (s *Session) enqueue(q queued) {
	if s.flow.Cause != CauseNone && q.kind != queuedEvent {
		return
	}
	if s.queue == nil {
		s.queue = make([]queued, 0, usualQueue)
	}
	q.record = bytes.Clone(q.record)
	s.queueSize += len(q.record)
	s.queue = append(s.queue, q)
	limit := 2 * orDefault(s.cfg.MaxBacklog, DefaultMaxBacklog)
	// A record's place in the queue costs memory too, however small the record is.
	if s.queueSize+64*len(s.queue) > limit {
		switch {
		case s.waitsLog:
			s.fail(s.unlogged, s.unloggedDetail)
		case s.awaitsSession():
			s.impatient = true
			s.drain()
		default:
			s.fail(Overload, "too much came while the private key was at work")
		}
	}
}

// drain processes the queue until it is empty or a secret is missing again.
func (s *Session) drain() {
	s.waiting, s.waitsLog = nil, false
	for len(s.queue) > 0 {
		all := s.queue
		q := all[0]
		s.queue = all[1:] // what comes after q
		s.now = q.time
		if !s.processQueued(q) {
			s.queue = all
			return
		}
		if s.flow.Cause != CauseNone {
			break
		}
		s.queueSize -= len(q.record)
		all[0] = queued{}
	}
	s.flushEvents()
}

// queuedOf reports whether records of a side wait.
func (s *Session) queuedOf(side handshake.Side) bool {
	for _, q := range s.queue {
		if q.kind == queuedRecord && q.side == side {
			return true
		}
	}
	return false
}

func (s *Session) processQueued(q queued) bool {
	if q.kind == queuedRecord {
		return s.process(&s.dir[q.side], q.at, q.record)
	}
	s.emit(q.event, q.side)
	return true
}

func (s *Session) dropQueue() {
	s.queue, s.queueSize = nil, 0
	s.waiting, s.waitsLog = nil, false
}
