// SPDX-License-Identifier: Apache-2.0

package keylog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// DefaultLimit is how many secrets are kept unless told otherwise: those of some 100,000 TLS 1.3
// connections.
const DefaultLimit = 1 << 19

// Source is what a reader of connections asks for secrets: [Secrets] or a [Follower]. The slices
// that come out must not be modified.
type Source interface {
	// Lookup returns the secret of a label whose ID is a client random.
	Lookup(label Label, clientRandom []byte) ([]byte, bool)
	// ByEncryptedPremaster returns the premaster secret of a ClientKeyExchange, found by the first
	// 8 bytes of its encrypted form; encrypted may be longer.
	ByEncryptedPremaster(encrypted []byte) ([]byte, bool)
	// BySessionID returns the master secret of a session.
	BySessionID(id []byte) ([]byte, bool)
}

// Secrets is an index over the lines of key logs. It keeps the latest lines up to its limit, and is
// safe for concurrent use. It formats as a placeholder.
type Secrets struct {
	mu    sync.RWMutex
	index map[secretKey][]byte
	order []secretKey // a ring of the keys in index, once full
	next  int         // order: the oldest
	limit int
}

type secretKey struct {
	rule uint8
	n    uint8
	id   [maxSessionIDLen]byte // the longest ID is 32 bytes, as is a random
}

// NewSecrets returns an index for up to limit secrets; zero or less means DefaultLimit.
func NewSecrets(limit int) *Secrets {
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &Secrets{index: make(map[secretKey][]byte), limit: limit}
}

// Load returns an index of DefaultLimit secrets over the lines of r.
func Load(r io.Reader) (*Secrets, Report, error) {
	s := NewSecrets(0)
	report, err := s.Load(r)
	return s, report, err
}

func keyFor(rule int, id []byte) secretKey {
	k := secretKey{rule: uint8(rule), n: uint8(len(id))}
	copy(k.id[:], id)
	return k
}

// Add keeps a line, in the place of an earlier one with the same label and ID, and reports whether
// it did: a line that Parse would not have returned is ignored. It keeps l.Secret.
func (s *Secrets) Add(l Line) bool {
	rule, err := l.check()
	if err != nil {
		return false
	}
	k := keyFor(rule, l.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.index[k]; !known {
		s.makeRoom(k)
	}
	s.index[k] = l.Secret
	return true
}

// makeRoom takes the oldest secret's place for k.
func (s *Secrets) makeRoom(k secretKey) {
	if len(s.order) < s.limit {
		s.order = append(s.order, k)
		return
	}
	delete(s.index, s.order[s.next])
	s.order[s.next] = k
	s.next = (s.next + 1) % s.limit
}

// Lookup returns the secret of a label whose ID is a client random.
func (s *Secrets) Lookup(label Label, clientRandom []byte) ([]byte, bool) {
	rule := ruleFor(label)
	if rule < 0 || len(clientRandom) > maxSessionIDLen {
		return nil, false
	}
	k := keyFor(rule, clientRandom)
	s.mu.RLock()
	defer s.mu.RUnlock()
	secret, ok := s.index[k]
	return secret, ok
}

// ByEncryptedPremaster returns the premaster secret of a ClientKeyExchange, found by the first 8
// bytes of its encrypted form; encrypted may be longer.
func (s *Secrets) ByEncryptedPremaster(encrypted []byte) ([]byte, bool) {
	if len(encrypted) < encryptedIDLen {
		return nil, false
	}
	return s.Lookup(RSA, encrypted[:encryptedIDLen])
}

// BySessionID returns the master secret of a session.
func (s *Secrets) BySessionID(id []byte) ([]byte, bool) { return s.Lookup(RSASessionID, id) }

// Len returns how many secrets are kept.
func (s *Secrets) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.index)
}

// String returns a placeholder with the number of secrets.
func (s *Secrets) String() string { return fmt.Sprintf("key log: %d secrets", s.Len()) }

// GoString returns the same as String.
func (s *Secrets) GoString() string { return s.String() }

// Format writes the same as String, whatever the verb.
func (s *Secrets) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// maxReported is how many errors a Report keeps.
const maxReported = 10

// Report says what became of the lines of a key log.
type Report struct {
	Lines     int         // read, blank ones and comments included
	Secrets   int         // taken
	Unknown   int         // with a label that is unknown here: ignored
	Malformed int         // ignored
	Errors    []LineError // the first of the malformed lines
}

// LineError says what is wrong with a line. It does not quote it.
type LineError struct {
	Line int // from 1
	Err  error
}

// Error returns the line's number and what is wrong.
func (e LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e LineError) Unwrap() error { return e.Err }

// maxLine bounds a line, in bytes: the longest label, ID and secret there can be, and some room.
const maxLine = 4096

var errTooLong = errors.New("longer than any line of a key log")

// take counts one line and keeps its secret.
func (s *Secrets) take(line []byte, tooLong bool, report *Report) {
	report.Lines++
	l, err := Line{}, errTooLong
	if !tooLong {
		l, err = Parse(line)
	}
	switch {
	case err == nil:
		report.Secrets++
		s.Add(l)
	case errors.Is(err, ErrBlank):
	case errors.Is(err, ErrUnknownLabel):
		report.Unknown++
	default:
		report.Malformed++
		if len(report.Errors) < maxReported {
			report.Errors = append(report.Errors, LineError{report.Lines, err})
		}
	}
}

// Load adds the lines of r, to its end. Lines that are no key log's are counted and never fatal; the
// error is r's.
func (s *Secrets) Load(r io.Reader) (Report, error) {
	var report Report
	br := bufio.NewReaderSize(r, maxLine)
	for {
		line, tooLong, err := readLine(br)
		if len(line) > 0 || tooLong {
			s.take(line, tooLong, &report)
		}
		if err == io.EOF {
			return report, nil
		}
		if err != nil {
			return report, err
		}
	}
}

// LoadBytes adds the lines of b, such as a pcapng Decryption Secrets Block has.
func (s *Secrets) LoadBytes(b []byte) Report {
	report, _ := s.Load(bytes.NewReader(b)) // a bytes.Reader only ends
	return report
}

// readLine returns the next line, its end included if it has one. Of a line that is too long it
// returns nothing, and reads on behind it.
func readLine(br *bufio.Reader) (line []byte, tooLong bool, err error) {
	line, err = br.ReadSlice('\n')
	for err == bufio.ErrBufferFull {
		tooLong = true
		_, err = br.ReadSlice('\n')
	}
	if tooLong {
		return nil, true, err
	}
	return line, false, err
}
