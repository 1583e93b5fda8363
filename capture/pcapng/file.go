// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// File names a capture file, or standard input.
type File struct {
	Path string
	Size int64 // on disk; 0 if it cannot be told
	// Title is what errors call the file; empty: its path.
	Title string
	// Again says that the file can be opened more than once. Standard input and pipes cannot.
	Again bool
}

// Stat finds out what kind of file a path names. It does not read it.
func Stat(path string) (File, error) {
	if path == Stdin {
		return File{Path: path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return File{}, err
	}
	if info.IsDir() {
		return File{}, fmt.Errorf("%s: is a directory", path)
	}
	f := File{Path: path}
	if info.Mode().IsRegular() {
		f.Size, f.Again = info.Size(), true
	}
	return f, nil
}

// Name returns what to call the file.
func (f File) Name() string {
	switch {
	case f.Title != "":
		return f.Title
	case f.Path == Stdin:
		return "standard input"
	}
	return f.Path
}

// Spool copies a file that can be read only once to a temporary one, whose path it returns, also
// with an error: the caller removes it. It ends early, with ctx's error, when that does.
func (f File) Spool(ctx context.Context) (string, error) {
	in, src, err := f.content(ctx)
	if err != nil {
		return "", err
	}
	defer in.Close()
	tmp, err := os.CreateTemp("", "sightglass-*.capture")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(tmp, src)
	// What is cut is read as far as it goes.
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return tmp.Name(), errors.Join(err, tmp.Close())
}

// Input is an open capture file.
type Input struct {
	*Reader
	ctx   context.Context // of its reads
	file  *os.File
	await func() error // waits for something to read, or ctx's end; nil: a read does
	used  atomic.Int64
	done  []func()
}

// Open opens the file and looks through its compression, which is told by its first bytes. When ctx ends so do the reads, with
// its error, those of a pipe that wait for what nobody writes, too.
func (f File) Open(ctx context.Context) (*Input, error) {
	in, src, err := f.content(ctx)
	if err != nil {
		return nil, err
	}
	if in.Reader, err = NewReader(f.Name(), src); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// content opens the file and returns what is in it, decompressed.
func (f File) content(ctx context.Context) (*Input, io.Reader, error) {
	in := &Input{ctx: ctx, file: os.Stdin}
	var err error
	if f.Path == Stdin {
		err = in.awaitStdin()
	} else {
		err = in.open(f.Path)
	}
	if err != nil {
		return nil, nil, err
	}
	src, err := in.decompress(f.Name())
	if err != nil {
		in.Close()
		return nil, nil, err
	}
	return in, src, nil
}

// open opens a file that has a name.
func (in *Input) open(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	in.file = file
	stop := context.AfterFunc(in.ctx, func() {
		_ = file.SetReadDeadline(time.Unix(1, 0)) // of a file that is no pipe there is none, nor a wait
	})
	in.done = append(in.done, func() { stop() })
	return nil
}

// Used returns how many bytes of the file were read, before decompression. It may be called from
// another goroutine.
func (in *Input) Used() int64 { return in.used.Load() }

// Close closes the file, unless it is standard input.
func (in *Input) Close() error {
	for _, do := range in.done {
		do()
	}
	if in.file == os.Stdin {
		return nil
	}
	return in.file.Close()
}

// counted counts what is read from a file.
type counted struct{ in *Input }

func (c counted) Read(b []byte) (int, error) {
	in := c.in
	if in.await != nil {
		if err := in.await(); err != nil {
			return 0, err
		}
	}
	if err := in.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := in.file.Read(b)
	in.used.Add(int64(n))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = in.ctx.Err()
	}
	return n, err
}

var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// maxWindow bounds the window of a zstd file, in bytes: what zstd itself takes without being told.
const maxWindow = 128 << 20

// errDecompress marks an error as the decompressor's.
var errDecompress = errors.New("decompression failed")

// decompress returns the file's content. The small buffer passes large reads on without a copy.
func (in *Input) decompress(name string) (io.Reader, error) {
	head := bufio.NewReaderSize(counted{in}, 64)
	magic, err := head.Peek(len(magicZstd))
	if err != nil && err != io.EOF {
		return nil, &readError{name, err}
	}
	switch {
	case bytes.HasPrefix(magic, magicGzip):
		z, err := gzip.NewReader(bufio.NewReaderSize(head, 64<<10))
		if err != nil {
			return nil, &Error{Name: name, Kind: ErrNotCapture, Detail: "it begins like gzip, but " + err.Error()}
		}
		return decompressed{z}, nil
	case bytes.Equal(magic, magicZstd):
		z, err := zstd.NewReader(head, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, &Error{Name: name, Kind: ErrNotCapture, Detail: "it begins like zstd, but " + err.Error()}
		}
		in.done = append(in.done, z.Close)
		return decompressed{z}, nil
	}
	return head, nil
}

// decompressed marks the errors of a decompressor.
type decompressed struct{ r io.Reader }

func (d decompressed) Read(b []byte) (int, error) {
	n, err := d.r.Read(b)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		var read *os.PathError
		if !errors.As(err, &read) {
			err = fmt.Errorf("%w: %w", errDecompress, err)
		}
	}
	return n, err
}

// Set returns the files of the paths in the order of their first packets, as a rotated set is to be
// read, whatever their names. Where that order cannot be told, because one of them can only be read
// once or has no packet, or is no capture, files stay behind the one they were named after.
func Set(paths []string) ([]File, error) {
	type entry struct {
		file  File
		first int64
	}
	entries := make([]entry, 0, len(paths))
	for _, path := range paths {
		f, err := Stat(path)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{file: f})
	}
	ordered := len(entries) > 1
	for i := range entries {
		ordered = ordered && entries[i].file.Again
	}
	if ordered {
		for i := range entries {
			first, ok := entries[i].file.firstTime()
			if !ok && i > 0 {
				first = entries[i-1].first
			}
			entries[i].first = first
		}
		slices.SortStableFunc(entries, func(a, b entry) int {
			switch {
			case a.first < b.first:
				return -1
			case a.first > b.first:
				return 1
			}
			return 0
		})
	}
	files := make([]File, len(entries))
	for i, e := range entries {
		files[i] = e.file
	}
	return files, nil
}

// firstTime returns the time of the first packet.
func (f File) firstTime() (int64, bool) {
	in, err := f.Open(context.Background())
	if err != nil {
		return 0, false
	}
	defer in.Close()
	buf := make([]byte, MinBuffer)
	var p Packet
	for {
		switch err := in.Next(&p); err {
		case nil:
			return p.Time, true
		case ErrFill:
			in.Fill(buf, false)
		default:
			return 0, false
		}
	}
}
