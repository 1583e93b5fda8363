// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"sync"
)

// MasterSecretLen is the length of every master secret, in bytes (RFC 5246, Section 8.1).
const MasterSecretLen = 48

// ErrPending is what [Secret.Master] returns before the secret is ready.
var ErrPending = errors.New("master secret not ready yet")

// A Secret is a master secret that may still be on its way, or not even asked for. It is safe for
// concurrent use, settles once, and never prints what it holds.
type Secret struct {
	mu     sync.Mutex
	start  func() // asks for it; nil: that was done
	idle   *Idle  // that can hasten it; nil: none, or that was done
	ready  bool
	master []byte
	err    error
	then   []func()
}

// NewSecret returns a secret that is not ready, and the function that settles it. Only the first
// call of settle counts; it keeps master and, before it returns, calls what was registered by Then.
func NewSecret() (s *Secret, settle func(master []byte, err error)) {
	s = new(Secret)
	return s, s.settle
}

// Resolved returns a secret that is ready. It keeps master.
func Resolved(master []byte) *Secret { return &Secret{ready: true, master: master} }

// Failed returns a secret that is ready and has failed with err.
func Failed(err error) *Secret { return &Secret{ready: true, err: err} }

// Start has the work for the secret begin, unless it has. It does not wait.
func (s *Secret) Start() {
	s.mu.Lock()
	start := s.start
	s.start = nil
	s.mu.Unlock()
	if start != nil {
		start()
	}
}

// Hasten starts the secret and has it come before those that nobody waits for, if it is one of an [Idle].
func (s *Secret) Hasten() {
	s.Start()
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	if idle != nil {
		idle.hasten(s)
	}
}

// Ready reports whether Master has an answer.
func (s *Secret) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// Master returns the 48 bytes of the master secret, which must not be modified, or why there are
// none: ErrPending, ErrOverload, ErrNoKey or ErrClosed. Whether the premaster's padding was right
// is no error and cannot be asked (RFC 5246, Section 7.4.7.1).
func (s *Secret) Master() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return nil, ErrPending
	}
	return s.master, s.err
}

// Then starts the secret and calls f once, when it is ready: before Then returns, on the caller's
// goroutine, if it is already, otherwise on the goroutine that settles it. A caller must not hold a
// lock which f takes.
func (s *Secret) Then(f func()) {
	s.mu.Lock()
	if !s.ready {
		s.then = append(s.then, f)
		s.mu.Unlock()
		s.Start()
		return
	}
	s.mu.Unlock()
	f()
}

// is reports whether two are one secret, or hold the same.
func (s *Secret) is(other *Secret) bool {
	switch {
	case s == nil || other == nil:
		return false
	case s == other:
		return true
	}
	theirs, err := other.Master()
	return err == nil && s.holds(theirs)
}

// holds reports whether the secret is ready, and this one.
func (s *Secret) holds(master []byte) bool {
	if s == nil {
		return false
	}
	mine, err := s.Master()
	return err == nil && subtle.ConstantTimeCompare(mine, master) == 1
}

func (s *Secret) settle(master []byte, err error) {
	s.mu.Lock()
	if s.ready {
		s.mu.Unlock()
		return
	}
	s.ready, s.master, s.err = true, master, err
	then := s.then
	s.then = nil
	s.mu.Unlock()
	for _, f := range then {
		f()
	}
}

// redacted is what every type that holds a secret prints.
const redacted = "[secret]"

// String returns a placeholder.
func (s *Secret) String() string { return redacted }

// GoString returns a placeholder.
func (s *Secret) GoString() string { return redacted }

// Format writes a placeholder, whatever the verb.
func (s *Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }
