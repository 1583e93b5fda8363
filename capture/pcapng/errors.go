// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"errors"
	"fmt"
)

// What can be wrong with a file; an [Error] wraps one of them.
var (
	// ErrNotCapture says that a file is none of the formats known here.
	ErrNotCapture = errors.New("not a capture file")
	// ErrCut says that a file ends within a packet or block. All before it was read.
	ErrCut = errors.New("cut short")
	// ErrCorrupt says that a file goes on with what can be no packet or block.
	ErrCorrupt = errors.New("corrupt")
	// ErrUnsupported says that a file is a capture of a version or kind that is not read here.
	ErrUnsupported = errors.New("unsupported")
)

// Error says what is wrong with a capture file, and where. Everything before Offset was read.
type Error struct {
	Name   string // the file's; empty if it has none
	Offset int64  // bytes from the beginning of the file, after decompression
	Kind   error  // ErrNotCapture, ErrCut, ErrCorrupt or ErrUnsupported
	Detail string // one phrase; empty: the kind says all
}

// Error returns one line.
func (e *Error) Error() string {
	msg := e.Kind.Error()
	if e.Kind != ErrNotCapture {
		msg += fmt.Sprintf(" at offset %d", e.Offset)
	}
	if e.Detail != "" {
		msg += ": " + e.Detail
	}
	if e.Name != "" {
		msg = e.Name + ": " + msg
	}
	return msg
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func (r *Reader) corrupt(at int, format string, args ...any) error {
	return r.failed(at, ErrCorrupt, fmt.Sprintf(format, args...))
}

// failed makes the error at an index of the buffer, and makes it last.
func (r *Reader) failed(at int, kind error, detail string) error {
	r.err = &Error{Name: r.name, Offset: r.base + int64(at), Kind: kind, Detail: detail}
	return r.err
}
