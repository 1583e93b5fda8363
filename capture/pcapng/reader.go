// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// MaxPacket bounds the captured bytes of one packet. It is libpcap's own bound.
	MaxPacket = 256 << 10
	// MinBuffer is the least size of a buffer that holds any packet and what stands around it.
	MinBuffer = MaxPacket + 2*maxWhole
	// MaxSecrets bounds the secrets of one Decryption Secrets Block, in bytes.
	MaxSecrets = 16 << 20
)

// Format is a file format.
type Format uint8

// The formats.
const (
	FormatPcap Format = iota
	FormatPcapng
)

// LinkType says what a packet begins with: a value of the registry of link-layer header types.
type LinkType uint16

// Packet is one packet of a file.
type Packet struct {
	Data   []byte // in the buffer that was given to Fill: as long as that is left alone
	Length int    // on the wire, at least len(Data)
	Time   int64  // nanoseconds since 1970
	Link   LinkType
	// Interface is the name of the interface in a pcapng file, if it has one.
	Interface string
}

// errMore says that the buffer does not hold what comes next.
var errMore = errors.New("more is needed")

// ErrFill says that the buffer holds no further whole packet: Fill is to be called.
var ErrFill = errors.New("the buffer holds no further packet")

// Reader reads the packets of one file. It reads nothing ahead of the buffers it is given.
type Reader struct {
	name   string
	src    io.Reader
	format Format
	next   func(r *Reader, p *Packet) error // the format's
	// Secrets takes the secrets of Decryption Secrets Blocks as they come; nil: they are skipped.
	// The bytes are only valid during the call.
	Secrets func(kind uint32, secrets []byte)

	buf    []byte // what was read: from pos on, not yet used
	pos    int
	base   int64 // offset in the file of buf[0]
	skip   int64 // bytes to pass over before the next packet
	eof    bool
	srcErr error // what ended src, if it was no plain end
	err    error // lasts

	order  binary.ByteOrder
	big    bool
	pcap   pcapHeader
	ng     section
	first  [24]byte // the beginning of the file
	firstN int
	// secrets gathers a Decryption Secrets Block that is larger than the buffer.
	gather *gathering
}

// NewReader returns a reader of src, which is not compressed. The name is for errors. It reads the
// beginning of src, and fails with an [Error] if that is no capture's.
func NewReader(name string, src io.Reader) (*Reader, error) {
	r := &Reader{name: name, src: src}
	n, err := io.ReadFull(src, r.first[:])
	r.firstN = n
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, r.sourceError(err)
	}
	if err := r.detect(); err != nil {
		return nil, err
	}
	return r, nil
}

// detect finds out the format by the first bytes, and byte order and resolution with it.
func (r *Reader) detect() error {
	if r.firstN < 4 {
		return r.failed(0, ErrNotCapture, describe(r.first[:r.firstN]))
	}
	if binary.LittleEndian.Uint32(r.first[:]) == blockSection {
		r.format, r.next = FormatPcapng, (*Reader).nextBlock
		return nil
	}
	known, err := r.detectPcap()
	if err != nil || known {
		return err
	}
	return r.failed(0, ErrNotCapture, describe(r.first[:r.firstN]))
}

// Format returns the file's format.
func (r *Reader) Format() Format { return r.format }

// Offset returns how many bytes of the file were used.
func (r *Reader) Offset() int64 { return r.base + int64(r.pos) }

// Left returns how many bytes of the buffer are not used yet.
func (r *Reader) Left() int { return len(r.buf) - r.pos }

// Fill moves what is left to the beginning of buf and reads more behind it: at least one byte, or up
// to the end of buf if whole. The reader uses buf until the next Fill. buf holds what is left, and is
// MinBuffer bytes or more if Next found nothing whole in the last one.
// At the end of the file Fill does nothing; a failure to read is shown by Next, after what was read.
func (r *Reader) Fill(buf []byte, whole bool) {
	if len(buf) < max(len(r.first), r.Left()) {
		panic("pcapng: a buffer that is too small")
	}
	rest := copy(buf, r.buf[r.pos:])
	r.base += int64(r.pos)
	if r.firstN > 0 {
		rest += copy(buf[rest:], r.first[:r.firstN])
		r.firstN = 0
	}
	r.buf, r.pos = buf[:rest], 0
	for idle := 0; !r.eof && rest < len(buf); {
		n, err := r.src.Read(buf[rest:])
		rest += n
		r.buf = buf[:rest]
		if idle++; n > 0 {
			idle = 0
		}
		if err == nil && idle == maxIdleReads {
			err = io.ErrNoProgress
		}
		if err != nil {
			r.eof = true
			if err != io.EOF {
				r.srcErr = err
			}
		}
		if n > 0 && !whole {
			break
		}
	}
}

// maxIdleReads is how often in a row a source may give neither bytes nor an error.
const maxIdleReads = 100

// describe says what a file that is no capture begins with.
func describe(b []byte) string {
	switch {
	case len(b) == 0:
		return "it is empty"
	case bytes.HasPrefix(b, []byte("snoop\x00")):
		return "snoop files are not read; editcap converts them"
	case len(b) > 8:
		b = b[:8]
	}
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c > '~' {
			return fmt.Sprintf("it begins with the bytes % x", b)
		}
	}
	return fmt.Sprintf("it begins with the text %q", b)
}

// Next returns the next packet, [ErrFill] if the buffer holds no further one, io.EOF at the end, or
// an [Error].
func (r *Reader) Next(p *Packet) error {
	if r.err != nil {
		return r.err
	}
	for {
		err := r.pass()
		if err == nil {
			err = r.next(r, p)
		}
		switch err {
		case nil:
			return nil
		case errAgain:
			continue
		case errMore:
			if !r.eof {
				return ErrFill
			}
			return r.end()
		default:
			return err
		}
	}
}

// errAgain says that something that is no packet was passed over.
var errAgain = errors.New("go on")

// pass passes over what is to be skipped.
func (r *Reader) pass() error {
	if r.skip == 0 {
		return nil
	}
	n := int(min(r.skip, int64(len(r.buf)-r.pos)))
	r.gather.add(r.buf[r.pos : r.pos+n])
	r.pos += n
	r.skip -= int64(n)
	if r.skip > 0 {
		return errMore
	}
	if r.gather != nil {
		r.gather.deliver(r)
	}
	return nil
}

// end says how the file ended.
func (r *Reader) end() error {
	switch {
	case r.srcErr != nil:
		r.err = r.sourceError(r.srcErr)
		return r.err
	case r.pos < len(r.buf) || r.skip > 0:
		return r.failed(r.pos, ErrCut, "the last packet is not whole")
	}
	r.err = io.EOF
	return r.err
}

// sourceError says what a failure to read, or to decompress, means.
func (r *Reader) sourceError(err error) error {
	e := &Error{Name: r.name, Offset: r.base + int64(len(r.buf)), Kind: ErrCorrupt, Detail: err.Error()}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Kind, e.Detail = ErrCut, "the compressed data is not whole"
	case !errors.Is(err, errDecompress):
		return &readError{r.name, err}
	}
	return e
}

// readError is a failure of the operating system to read.
type readError struct {
	name string
	err  error
}

func (e *readError) Error() string {
	if e.name == "" {
		return e.err.Error()
	}
	return e.name + ": " + e.err.Error()
}

func (e *readError) Unwrap() error { return e.err }

// need returns the next n bytes without using them.
func (r *Reader) need(n int) ([]byte, error) {
	if len(r.buf)-r.pos < n {
		return nil, errMore
	}
	return r.buf[r.pos : r.pos+n], nil
}

// advance uses n bytes, which may reach beyond the buffer.
func (r *Reader) advance(n int64) {
	in := min(n, int64(len(r.buf)-r.pos))
	r.pos += int(in)
	r.skip = n - in
}
