// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// A store file is a log: a header, then a record for each session put or removed. It is rewritten
// when much of it is out of date, by writing another and renaming that over it. Beside it lies a
// lock file, which keeps a second process out.
//
//	header  8 bytes of magic, 32 of salt
//	record  see seal
//
// What a crash leaves at the end of the file is ignored. A crash of the whole machine may cost the
// records of the last seconds: they are handed to the system, and synced only when the file is
// rewritten or closed.
const (
	storeMagic   = "SGSTORE\x01"
	saltLen      = 32
	headerLen    = len(storeMagic) + saltLen
	storeBacklog = 16384 // records that wait to be written
	// slack is how many out-of-date records are no reason yet to rewrite a file.
	slack = 4096
)

// OpenStoreFile returns a store for up to limit sessions (zero or less: DefaultStoreLimit) that
// starts with what the file has and writes to it what is put. The file is made if it is not there,
// readable for its owner only. Each session is encrypted under a key derived from the private key
// that opened it; sessions of keys that are not in the ring are dropped. Writing goes on in the
// background and never holds up Put: a session that cannot be written is still kept in memory.
// Close ends it.
func OpenStoreFile(path string, ring *Ring, limit int) (*Store, error) {
	if ring == nil || len(ring.keys) == 0 {
		return nil, fmt.Errorf("%s: a session store needs a private key, from which its own key is derived", path)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a rename must not replace the link
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := NewStore(limit)
	f := &storeFile{path: path, ring: ring, store: s, lock: lock, ops: make(chan storeOp, storeBacklog), done: make(chan struct{})}
	if err := f.start(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.file = f
	go f.run()
	return s, nil
}

// storeFile writes a store's file. All but the channel and its guard belong to one goroutine.
type storeFile struct {
	path  string
	ring  *Ring
	store *Store
	lock  *os.File

	mu     sync.RWMutex // held for reading while sending to ops
	closed bool
	ops    chan storeOp
	lost   atomic.Bool // the file lacks something that is in memory
	done   chan struct{}
	err    error // valid once done is closed

	file    *os.File
	seals   *storeSeals
	size    int64 // of the whole records in file
	records int   // in file
	handled int   // ops since the file was last rewritten
	buf     []byte
}

// storeOp is a session put or removed.
type storeOp struct {
	key     storeKey
	session *Session
	remove  bool
}

var (
	errNoStoreFile = errors.New("exists and is no session store: it is left as it is, name another file")
	errLocked      = errors.New("in use by another process: give each its own session store")
)

// start reads the file and readies it for appending, anew if anything in it is of no use.
func (f *storeFile) start() error {
	stale, err := f.load()
	if err != nil {
		return err
	}
	if stale {
		return f.rewrite()
	}
	return f.reopen()
}

// load puts what the file has into the store, and reports whether it must be rewritten.
func (f *storeFile) load() (stale bool, err error) {
	file, err := os.Open(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, explainOpen(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, explainOpen(err)
	}
	if !info.Mode().IsRegular() {
		return false, errNoStoreFile
	}
	header := make([]byte, headerLen)
	n, err := io.ReadFull(file, header)
	switch {
	case n == 0 && err == io.EOF:
		return true, nil
	case string(header[:min(n, len(storeMagic))]) != storeMagic[:min(n, len(storeMagic))]:
		return false, errNoStoreFile
	case err == io.ErrUnexpectedEOF:
		return true, nil // torn while it was made
	case err != nil:
		return false, explainOpen(err)
	}
	f.seals = newStoreSeals(f.ring, header[len(storeMagic):])
	good, err := f.replay(file)
	if err != nil {
		return false, explainOpen(err)
	}
	return info.Mode().Perm() != 0o600 || f.size != info.Size() || !good || f.overgrown(), nil
}

// replay reads records to the end or to the first that is torn, and reports whether all of them were
// of use.
func (f *storeFile) replay(r io.Reader) (good bool, err error) {
	f.size, f.records, good = int64(headerLen), 0, true
	records := newRecordReader(r)
	for {
		record, err := records.next()
		if err == io.EOF {
			return good, nil
		}
		if err != nil {
			return false, err
		}
		f.size += int64(len(record))
		f.records++
		op, ok := f.seals.open(record)
		switch {
		case !ok:
			good = false // of a key that is gone, or damaged
		case op.remove:
			f.store.shard(op.key).forget(op.key)
		default:
			f.store.shard(op.key).put(op.key, op.session)
		}
	}
}

// overgrown reports whether most of the file is out of date.
func (f *storeFile) overgrown() bool {
	return f.records > 2*f.store.Len()+slack && (f.seals == nil || f.handled == 0 || f.handled >= slack)
}

// reopen opens the file for appending behind its last whole record.
func (f *storeFile) reopen() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY, 0o600)
	if err != nil {
		return explainOpen(err)
	}
	if _, err := file.Seek(f.size, io.SeekStart); err != nil {
		file.Close()
		return explainOpen(err)
	}
	f.file = file
	return nil
}

// rewrite replaces the file by one with just what the store has now. Until the rename the old file
// is whole, after it the new one is.
func (f *storeFile) rewrite() error {
	f.handled = 0
	f.lost.Store(false) // what is lost from here on, another time makes up for
	temp := f.path + ".new"
	seals, size, records, err := f.writeNew(temp)
	if err == nil {
		f.closeFile() // before the rename, for systems that cannot replace an open file
		err = os.Rename(temp, f.path)
	}
	if err != nil {
		os.Remove(temp)
		f.lost.Store(true)
		if f.file == nil && f.size > 0 {
			f.reopen() // go on with the old one, if it can be
		}
		return explainOpen(err)
	}
	syncDir(filepath.Dir(f.path))
	f.seals, f.size, f.records = seals, size, records
	return f.reopen()
}

func (f *storeFile) closeFile() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// writeNew writes and syncs a whole new file, under a new salt.
func (f *storeFile) writeNew(path string) (seals *storeSeals, size int64, records int, err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, 0, err // a leftover could have another mode
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, 0, 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	salt := make([]byte, saltLen)
	rand.Read(salt) // never fails
	seals = newStoreSeals(f.ring, salt)
	buf := append([]byte(storeMagic), salt...)
	flush := func() error {
		n, err := file.Write(buf)
		size += int64(n)
		buf = buf[:0]
		return err
	}
	for i := range f.store.shards {
		for _, op := range f.store.shards[i].oldestFirst() {
			next, ok := seals.seal(buf, op)
			if !ok {
				continue
			}
			buf = next
			records++
			if len(buf) >= 1<<18 {
				if err := flush(); err != nil {
					return nil, 0, 0, err
				}
			}
		}
	}
	if err := flush(); err != nil {
		return nil, 0, 0, err
	}
	return seals, size, records, syncFile(file)
}

// syncFile makes what was written last beyond a crash of the machine. Tests, which cannot see that,
// do without.
var syncFile = (*os.File).Sync

// syncDir makes a rename in dir last, where the system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		syncFile(d)
		d.Close()
	}
}

// put hands a session to the writer once its secret is ready.
func (f *storeFile) put(k storeKey, s *Session) {
	if s.Secret == nil || f.ring.key(s.Key) == nil {
		return
	}
	s.Secret.Then(func() {
		if _, err := s.Secret.Master(); err == nil {
			f.send(storeOp{key: k, session: s})
		}
	})
}

func (f *storeFile) remove(k storeKey, s *Session) {
	f.send(storeOp{key: k, session: s, remove: true})
}

func (f *storeFile) send(op storeOp) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return
	}
	select {
	case f.ops <- op:
	default:
		f.lost.Store(true)
	}
}

// close writes what waits and ends the writer.
func (f *storeFile) close() error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.ops)
	}
	f.mu.Unlock()
	<-f.done
	return f.err
}

// run is the writer: it gathers what waits, and writes it at once.
func (f *storeFile) run() {
	defer close(f.done)
	for op := range f.ops {
		f.buf = f.buf[:0]
		n := f.add(op)
		for len(f.buf) < 1<<18 {
			more, ok := f.poll()
			if !ok {
				break
			}
			n += f.add(more)
		}
		f.append(n)
	}
	f.err = f.finish()
	f.lock.Close()
}

func (f *storeFile) poll() (storeOp, bool) {
	select {
	case op, ok := <-f.ops:
		return op, ok
	default:
		return storeOp{}, false
	}
}

// add seals one record into the buffer and returns how many it added. What the store has moved on
// from meanwhile is left out.
func (f *storeFile) add(op storeOp) int {
	f.handled++
	if !f.store.shard(op.key).upToDate(op) {
		return 0
	}
	buf, ok := f.seals.seal(f.buf, op)
	if !ok {
		return 0
	}
	f.buf = buf
	return 1
}

// append writes the buffer behind the last whole record. What cannot be written now is made up for
// when the file is rewritten; so as not to rewrite all the time, that waits for its share of work.
func (f *storeFile) append(n int) {
	if f.file == nil {
		f.lost.Store(true)
	} else if n > 0 {
		f.write(n)
	}
	if f.handled >= slack && f.overgrown() || f.lost.Load() && f.handled >= slack+f.store.Len() {
		f.rewrite() // an error leaves f.lost set, and Close reports what is wrong then
	}
}

func (f *storeFile) write(n int) {
	_, err := f.file.Write(f.buf)
	if err == nil {
		f.size += int64(len(f.buf))
		f.records += n
		return
	}
	f.lost.Store(true)
	f.closeFile()
	if os.Truncate(f.path, f.size) == nil {
		f.reopen() // without the torn record
	}
}

// finish brings the file up to date and closes it.
func (f *storeFile) finish() error {
	if f.lost.Load() || f.file == nil {
		if err := f.rewrite(); err != nil {
			f.closeFile()
			return fmt.Errorf("%s: %w", f.path, err)
		}
	}
	if err := errors.Join(syncFile(f.file), f.file.Close()); err != nil {
		return fmt.Errorf("%s: %w", f.path, explainOpen(err))
	}
	return nil
}
