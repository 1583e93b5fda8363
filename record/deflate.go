// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/sightglass/sightglass/handshake"
)

// compressionDEFLATE is RFC 3749's compression method. All records of a direction are one zlib
// stream (RFC 1950), flushed to a byte boundary at the end of each.
const compressionDEFLATE = 1

const windowLen = 1 << 15 // bytes; RFC 1951, Section 2

// syncMarker ends what is flushed to a byte boundary: an empty stored block.
var syncMarker = []byte{0, 0, 0xFF, 0xFF}

// inflater is a direction's decompression between two records: since each ends on a byte and block
// boundary, the last plaintext is all the state there is.
type inflater struct {
	window  []byte // at most windowLen
	started bool   // the zlib header has come
	ended   bool   // the zlib stream has come to its end
	lost    bool
}

// inflateJob is what decompressing one record takes. Jobs are shared by all directions.
type inflateJob struct {
	src    bytes.Reader
	reader io.ReadCloser
	out    [handshake.MaxPlaintext + 1]byte // one byte more shows an overflow
}

var inflateJobs = sync.Pool{New: func() any {
	j := new(inflateJob)
	j.reader = flate.NewReader(&j.src)
	return j
}}

// inflate decompresses one record's fragment, which may be part of buf, into buf.
func (f *inflater) inflate(buf, fragment []byte) ([]byte, error) {
	if f.lost {
		return nil, ErrStreamLost
	}
	if len(fragment) == 0 {
		return fragment, nil
	}
	out, err := f.run(buf, fragment)
	f.lost = err != nil
	return out, err
}

func (f *inflater) run(buf, fragment []byte) ([]byte, error) {
	if f.ended {
		return nil, ErrMalformed
	}
	if !f.started {
		if !zlibHeader(fragment) {
			return nil, ErrMalformed
		}
		f.started = true
		fragment = fragment[2:]
	}
	j := inflateJobs.Get().(*inflateJob)
	defer inflateJobs.Put(j)
	n, err := j.run(fragment, f.window)
	if err != nil && err != io.EOF {
		return nil, err
	}
	f.ended = err == io.EOF
	f.remember(j.out[:n])
	return append(buf[:0], j.out[:n]...), nil
}

// run returns how many bytes of out the fragment became; io.EOF says that the stream has ended.
func (j *inflateJob) run(fragment, window []byte) (n int, err error) {
	j.src.Reset(fragment)
	defer j.src.Reset(nil)
	if err := j.reader.(flate.Resetter).Reset(&j.src, window); err != nil {
		return 0, ErrMalformed
	}
	for err == nil && n < len(j.out) {
		var m int
		m, err = j.reader.Read(j.out[n:])
		n += m
	}
	switch {
	case n > handshake.MaxPlaintext:
		return 0, ErrRecordOverflow
	case err == io.EOF:
		return n, io.EOF
	case err == io.ErrUnexpectedEOF && bytes.HasSuffix(fragment, syncMarker):
		return n, nil // all there is, up to the boundary
	default:
		return 0, ErrMalformed
	}
}

// remember appends one record's plaintext, which is shorter than the window, to the window.
func (f *inflater) remember(plaintext []byte) {
	if over := len(f.window) + len(plaintext) - windowLen; over > 0 {
		f.window = slices.Delete(f.window, 0, over)
	}
	f.window = append(f.window, plaintext...)
}

func (f *inflater) clone() *inflater {
	c := *f
	c.window = slices.Clone(f.window)
	return &c
}

// zlibHeader says whether b begins with the header of a zlib stream that needs no preset dictionary
// (RFC 1950, Section 2.2).
func zlibHeader(b []byte) bool {
	return len(b) >= 2 && b[0]&0x0F == 8 && b[0]>>4 <= 7 && b[1]&0x20 == 0 && (int(b[0])<<8|int(b[1]))%31 == 0
}

// deflater compresses each record for itself, and so keeps no window.
type deflater struct {
	started bool // the zlib header has been written
}

func (d *deflater) deflate(plaintext []byte) ([]byte, error) {
	var out bytes.Buffer
	if !d.started {
		out.Write([]byte{0x78, 0x01}) // a window of 32 KiB, the fastest compression
	}
	if err := flate.StatelessDeflate(&out, plaintext, false, nil); err != nil {
		return nil, err
	}
	d.started = true
	return out.Bytes(), nil
}
