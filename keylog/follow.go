// SPDX-License-Identifier: Apache-2.0

package keylog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// RefreshInterval is the least time between two looks at a followed file that has not grown.
const RefreshInterval = 10 * time.Millisecond

// maxRefresh bounds how many bytes one look reads, so that no lookup waits for long; the next look
// goes on from there.
const maxRefresh = 16 << 20

// Follower reads a key log that grows: a lookup that finds nothing looks for new lines and tries
// again. The file may be truncated, and replaced under its name, which is seen within
// RefreshInterval. It is safe for concurrent use.
type Follower struct {
	secrets *Secrets
	path    string
	now     func() time.Time

	mu       sync.Mutex
	file     *os.File // nil: the path named nothing at the last look, or closed
	closed   bool
	offset   int64 // up to here the file was read
	partial  []byte
	tooLong  bool // partial was dropped: skip to the next line's end
	settled  bool // partial was there at the last look as well
	lastLook time.Time
	report   Report
	err      error
}

// Follow opens the key log at path, which must exist, and reads what is in it.
func Follow(path string) (*Follower, error) { return follow(path, time.Now) }

func follow(path string, now func() time.Time) (*Follower, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("key log: %w", err)
	}
	f := &Follower{secrets: NewSecrets(0), path: path, now: now, file: file}
	for more := true; more; {
		if more, err = f.read(); err != nil {
			file.Close()
			return nil, fmt.Errorf("key log: %w", err)
		}
	}
	return f, nil
}

// Lookup returns the secret of a label whose ID is a client random.
func (f *Follower) Lookup(label Label, clientRandom []byte) ([]byte, bool) {
	return f.find(func() ([]byte, bool) { return f.secrets.Lookup(label, clientRandom) })
}

// ByEncryptedPremaster returns the premaster secret of a ClientKeyExchange, found by the first 8
// bytes of its encrypted form; encrypted may be longer.
func (f *Follower) ByEncryptedPremaster(encrypted []byte) ([]byte, bool) {
	return f.find(func() ([]byte, bool) { return f.secrets.ByEncryptedPremaster(encrypted) })
}

// BySessionID returns the master secret of a session.
func (f *Follower) BySessionID(id []byte) ([]byte, bool) {
	return f.find(func() ([]byte, bool) { return f.secrets.BySessionID(id) })
}

func (f *Follower) find(lookup func() ([]byte, bool)) ([]byte, bool) {
	if secret, ok := lookup(); ok {
		return secret, true
	}
	f.look()
	return lookup()
}

// Report returns what became of the lines so far, and the last error of reading the file.
func (f *Follower) Report() (Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.report
	r.Errors = append([]LineError(nil), r.Errors...)
	return r, f.err
}

// Close closes the file; the secrets read so far can still be looked up.
func (f *Follower) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.closeFile()
}

// String returns a placeholder with the number of secrets.
func (f *Follower) String() string { return f.secrets.String() }

// GoString returns the same as String.
func (f *Follower) GoString() string { return f.String() }

// Format writes the same as String, whatever the verb.
func (f *Follower) Format(s fmt.State, _ rune) { io.WriteString(s, f.String()) }

func (f *Follower) closeFile() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// look reads what is new. A file that has grown is read at once: the connection that asks may be over
// within RefreshInterval.
func (f *Follower) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	switch recent := now.Sub(f.lastLook) < RefreshInterval; {
	case f.closed:
	case !recent:
		f.lastLook = now
		f.err = f.refresh()
	case f.grown():
		_, f.err = f.read()
	}
}

// grown reports whether the open file has more than was read.
func (f *Follower) grown() bool {
	if f.file == nil {
		return false
	}
	info, err := f.file.Stat()
	return err == nil && info.Mode().IsRegular() && info.Size() > f.offset
}

// refresh reads the open file to its end, and then the one that the path names now if that is
// another.
func (f *Follower) refresh() error {
	if f.file != nil {
		if more, err := f.read(); more || err != nil {
			return err
		}
	}
	there, err := os.Stat(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // between two files, or gone: the old one may still grow
	}
	if err != nil {
		return err
	}
	if f.file != nil {
		here, err := f.file.Stat()
		if err != nil || os.SameFile(here, there) {
			return err
		}
	}
	return f.reopen()
}

// reopen starts over with the file that the path names now.
func (f *Follower) reopen() error {
	next, err := os.Open(f.path)
	if err != nil {
		return err
	}
	f.takePartial()
	f.closeFile()
	f.file = next
	f.startOver()
	_, err = f.read()
	return err
}

func (f *Follower) startOver() {
	f.offset, f.partial, f.tooLong, f.settled = 0, nil, false, false
	f.report.Lines = 0 // line numbers are those of the file at hand
}

// read takes the new lines of the open file, and reports whether there may be more of them.
func (f *Follower) read() (more bool, err error) {
	info, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	if info.Mode().IsRegular() && info.Size() < f.offset {
		f.startOver() // truncated
	}
	before := f.offset
	buf := make([]byte, 64<<10)
	for f.offset-before < maxRefresh {
		n, err := f.file.ReadAt(buf, f.offset)
		f.offset += int64(n)
		f.split(buf[:n])
		if err == io.EOF {
			f.settle(f.offset == before)
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// split cuts b into lines, behind what is left of the last look.
func (f *Follower) split(b []byte) {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			f.keepPartial(b)
			return
		}
		f.keepPartial(b[:i])
		f.takePartial()
		b = b[i+1:]
	}
}

func (f *Follower) keepPartial(b []byte) {
	f.settled = false
	if f.tooLong || len(f.partial)+len(b) > maxLine {
		f.partial, f.tooLong = f.partial[:0], true
		return
	}
	f.partial = append(f.partial, b...)
}

// takePartial ends the line at hand.
func (f *Follower) takePartial() {
	f.secrets.take(f.partial, f.tooLong, &f.report)
	f.partial, f.tooLong = f.partial[:0], false
}

// settle takes a last line that has no end, once it was the same at two looks: until then its
// writer may be in the middle of it. The line stays at hand, and is taken again when it ends.
func (f *Follower) settle(idle bool) {
	if !idle || len(f.partial) == 0 || f.tooLong || f.settled {
		return
	}
	f.settled = true
	if l, err := Parse(f.partial); err == nil {
		f.secrets.Add(l)
	}
}
