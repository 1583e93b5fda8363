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
	queuedGap
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
	lost   int
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
}

func (s *Session) blocked() bool { return s.waiting != nil || s.waitsLog || len(s.queue) > 0 }

func (s *Session) enqueue(q queued) {
	if s.flow.Cause != CauseNone && q.kind != queuedEvent {
		return
	}
	q.record = bytes.Clone(q.record)
	s.queueSize += len(q.record)
	s.queue = append(s.queue, q)
	limit := 2 * orDefault(s.cfg.MaxBacklog, DefaultMaxBacklog)
	// A record's place in the queue costs memory too, however small the record is.
	if s.queueSize+64*len(s.queue) > limit {
		if s.waitsLog {
			s.fail(s.neg.unread, s.neg.unreadDetail)
		} else {
			s.fail(Overload, "too much came while the private key was at work")
		}
	}
}

// drain processes the queue until it is empty or a secret is missing again.
func (s *Session) drain() {
	s.waiting, s.waitsLog = nil, false
	for len(s.queue) > 0 {
		q := s.queue[0]
		s.now = q.time
		if !s.processQueued(q) {
			return
		}
		if len(s.queue) == 0 { // dropped by a failure
			return
		}
		s.queueSize -= len(q.record)
		s.queue[0] = queued{}
		s.queue = s.queue[1:]
	}
	s.dropQueue()
}

func (s *Session) processQueued(q queued) bool {
	switch q.kind {
	case queuedRecord:
		return s.process(&s.dir[q.side], q.at, q.record)
	case queuedGap:
		s.lostInRecords(&s.dir[q.side], q.lost)
	case queuedEvent:
		s.emit(q.event, q.side)
	}
	return true
}

func (s *Session) dropQueue() {
	s.queue, s.queueSize = nil, 0
	s.waiting, s.waitsLog = nil, false
}
