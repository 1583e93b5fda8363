// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Output is a file or writer that takes the records of one sink.
type Output struct {
	path string
	opt  Options
	w    io.Writer
	f    *os.File // nil: w is the caller's and is not closed
}

// Create opens the file at path for a sink, with mode 0600 if it is new; "-" is standard output. A
// symbolic link is refused, except those of the system that stand for open files.
func Create(path string, opt Options) (*Output, error) {
	if path == "-" {
		return NewOutput(os.Stdout, opt), nil
	}
	f, err := OpenFile(path, opt.Append)
	if err != nil {
		return nil, err
	}
	return &Output{path: path, opt: opt, w: f, f: f}, nil
}

// NewOutput returns an output over w, which is not closed. It cannot rotate.
func NewOutput(w io.Writer, opt Options) *Output {
	opt.RotateSize, opt.RotateTime = 0, 0
	return &Output{path: "-", opt: opt, w: w}
}

// Path returns the path given to Create, "-" for a writer.
func (o *Output) Path() string { return o.path }

// Discard closes an output that was given to no sink.
func (o *Output) Discard() error {
	if o.f == nil {
		return nil
	}
	return o.f.Close()
}

// start makes the queue that fills the output with records in the given shape.
func (o *Output) start(s shape) *queue {
	return newQueue(o.opt, newFileConsumer(o, s))
}

// OpenFile opens an output's file, as [Create] does: an existing one is emptied, or appended to.
func OpenFile(path string, appending bool) (*os.File, error) {
	flags := os.O_WRONLY | os.O_CREATE
	if appending {
		flags |= os.O_APPEND
	}
	if !standsForOpenFile(path) {
		flags |= noFollow
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		if fi, e := os.Lstat(path); e == nil && fi.Mode()&fs.ModeSymlink != 0 && flags&noFollow != 0 {
			return nil, fmt.Errorf("output %s is a symbolic link: name the file it points to", path)
		}
		return nil, fmt.Errorf("output: %w", err)
	}
	if appending {
		return f, nil
	}
	// Not O_TRUNC: it would fail on devices and pipes of some systems.
	if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() {
		if err := f.Truncate(0); err != nil {
			return nil, errors.Join(fmt.Errorf("output: %w", err), f.Close())
		}
	}
	return f, nil
}

// standsForOpenFile says that path is one like /dev/stdout, or /dev/fd/63 as shells make for
// ">(command)".
func standsForOpenFile(path string) bool {
	clean := filepath.ToSlash(filepath.Clean(path))
	return strings.HasPrefix(clean, "/dev/fd/") || strings.HasPrefix(clean, "/dev/std") ||
		strings.HasPrefix(clean, "/proc/")
}

// A shape is what makes a file of records.
type shape interface {
	// head appends what stands before the first record of a file.
	head(dst []byte) []byte
	// before appends what must stand before a record, whose data it may change; first says that it is
	// a file's first.
	before(dst []byte, r record, first bool) []byte
	// tail appends what stands after the last record of a file.
	tail(dst []byte) []byte
}

// plain is the shape of files that are nothing but records.
type plain struct{}

func (plain) head(dst []byte) []byte                     { return dst }
func (plain) before(dst []byte, _ record, _ bool) []byte { return dst }
func (plain) tail(dst []byte) []byte                     { return dst }

const (
	// fileBuffer is how much a file consumer gathers for one write, in bytes.
	fileBuffer = 256 << 10
	// longRun is how much is written from where it lies rather than copied.
	longRun = 16 << 10
)

// fileConsumer writes records to a file or writer, always whole records in one write: a reader,
// and what a kill leaves, sees no half of one.
type fileConsumer struct {
	o       *Output
	shape   shape
	buf     []byte // what is written next
	run     []byte // what is written behind it: records that stand together in a chunk
	pre     []byte // scratch
	records int    // in the current file
	waiting int    // records in buf and run
	size    int64  // of the current file with buf and run, without tail
	begun   bool   // head is written or in buf
	first   int64  // time of the file's first record
	tailed  int64  // bytes of tail that stand at the end of a regular file
	seek    bool   // the file is regular: the tail can be overwritten
	number  int    // of the rotated files
}

func newFileConsumer(o *Output, s shape) *fileConsumer {
	c := &fileConsumer{o: o, shape: s}
	if o.f != nil {
		if fi, err := o.f.Stat(); err == nil && fi.Mode().IsRegular() {
			c.seek = !o.opt.Append
			c.size = fi.Size()
		}
	}
	return c
}

func (c *fileConsumer) begin() {
	if !c.begun {
		c.begun = true
		c.add(c.shape.head(nil))
	}
}

// add puts a copy of b behind all else.
func (c *fileConsumer) add(b []byte) {
	c.fold()
	c.buf = append(c.buf, b...)
	c.size += int64(len(b))
}

// fold copies the run.
func (c *fileConsumer) fold() {
	c.buf, c.run = append(c.buf, c.run...), nil
}

func (c *fileConsumer) record(r record) error {
	if c.full(r) {
		if err := c.rotate(r); err != nil {
			return err
		}
	}
	if n := c.pending(); n > 0 && n+len(r.data) > fileBuffer {
		if err := c.write(); err != nil {
			return err
		}
	}
	c.begin()
	if c.records == 0 {
		c.first = r.time
	}
	if c.pre = c.shape.before(c.pre[:0], r, c.records == 0); len(c.pre) > 0 {
		c.add(c.pre)
	}
	c.records++
	err := c.extend(r.data)
	if err == nil {
		c.waiting++
	}
	return err
}

func (c *fileConsumer) unwritten() int { return c.waiting }

// extend puts b behind all else, where it lies.
func (c *fileConsumer) extend(b []byte) error {
	c.size += int64(len(b))
	if n := len(c.run); n > 0 && n < cap(c.run) && len(b) > 0 && &c.run[:n+1][n] == &b[0] {
		c.run = c.run[:n+len(b)]
		return nil
	}
	if err := c.settle(); err != nil {
		return err
	}
	c.run = b
	return nil
}

// settle writes a long run, and copies a short one, so that its chunk is free.
func (c *fileConsumer) settle() error {
	if len(c.run) >= longRun {
		return c.write()
	}
	c.fold()
	return nil
}

func (c *fileConsumer) pending() int { return len(c.buf) + len(c.run) }

func (c *fileConsumer) full(r record) bool {
	opt := &c.o.opt
	if c.records == 0 && !(opt.Append && c.size > 0) {
		return false
	}
	return opt.RotateSize > 0 && c.size+int64(len(r.data)) > opt.RotateSize ||
		opt.RotateTime > 0 && c.records > 0 && r.time-c.first >= int64(opt.RotateTime)
}

// write passes on what is pending. In a regular file it replaces the tail of the last flush.
func (c *fileConsumer) write() error {
	old, n := c.tailed, int64(c.pending())
	if n == 0 && old == 0 {
		return nil // an empty write would wait on a pipe
	}
	var err error
	if c.tailed = 0; old > 0 {
		_, err = c.o.f.Seek(-old, io.SeekEnd)
	}
	for _, b := range [2][]byte{c.buf, c.run} {
		if err == nil && len(b) > 0 {
			_, err = c.o.w.Write(b)
		}
	}
	if err == nil && n < old {
		var end int64
		if end, err = c.o.f.Seek(0, io.SeekCurrent); err == nil {
			err = c.o.f.Truncate(end)
		}
	}
	c.buf, c.run = c.buf[:0], nil
	if err != nil {
		return fmt.Errorf("output %s: %w", c.o.path, err)
	}
	c.waiting = 0
	return nil
}

// flush leaves a complete file behind where that is possible: a regular file gets its tail at once.
func (c *fileConsumer) flush() error {
	c.begin()
	if c.pending() == 0 {
		return nil
	}
	if c.seek {
		return c.complete()
	}
	return c.write()
}

// complete writes what is pending and the tail.
func (c *fileConsumer) complete() error {
	c.fold()
	n := len(c.buf)
	c.buf = c.shape.tail(c.buf)
	tail := int64(len(c.buf) - n)
	if err := c.write(); err != nil {
		return err
	}
	c.tailed = tail
	return nil
}

func (c *fileConsumer) close() error {
	c.begin()
	err := c.complete()
	if c.o.f != nil {
		err = errors.Join(err, c.o.f.Close())
	}
	return err
}

// rotate completes the file, puts it aside under a name of its first record's time, and begins a
// new one under the old name.
func (c *fileConsumer) rotate(r record) error {
	if c.o.f == nil {
		return nil
	}
	if err := c.close(); err != nil {
		return err
	}
	t := c.first
	if c.records == 0 {
		t = r.time // a file continued from an earlier run
	}
	aside, err := c.aside(time.Unix(0, t).UTC())
	if err != nil {
		return err
	}
	if err := os.Rename(c.o.path, aside); err != nil {
		return fmt.Errorf("output: rotate: %w", err)
	}
	f, err := OpenFile(c.o.path, false)
	if err != nil {
		return err
	}
	c.o.f, c.o.w = f, f
	c.begun, c.records, c.size, c.tailed, c.seek = false, 0, 0, 0, true
	return nil
}

// aside returns a name that no file has: path "a.pcapng" gives "a-20240131T120000Z-0001.pcapng".
func (c *fileConsumer) aside(t time.Time) (string, error) {
	ext := filepath.Ext(c.o.path)
	stem := strings.TrimSuffix(c.o.path, ext)
	for range 1 << 16 {
		c.number++
		name := fmt.Sprintf("%s-%s-%04d%s", stem, t.Format("20060102T150405Z"), c.number, ext)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
	}
	return "", fmt.Errorf("output: rotate %s: no free name", c.o.path)
}
