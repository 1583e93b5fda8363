// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"os"
	"runtime/pprof"
	"strconv"
	"sync"

	"github.com/sightglass/sightglass/session"
	"github.com/sightglass/sightglass/sink"
)

// What only measuring needs is asked for by the environment, not by flags: scripts/bench sets it.
const (
	// envProfile names a file for a profile of the processor's time, as go tool pprof reads it.
	envProfile = "SIGHTGLASS_CPUPROFILE"
	// envDigest names a file for one line a flow: a checksum of all plaintext, by side.
	envDigest = "SIGHTGLASS_DIGEST"
)

// profile profiles the run if the environment says so. stop writes what was found.
func (e *env) profile() (stop func(), err error) {
	path := e.getenv(envProfile)
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}

// digest is a sink that shows that all plaintext was seen and was right, for next to no time: CRC-32C,
// which the processor has an instruction for. A line is "client server outcome cause", and for each side
// the bytes and their checksum.
type digest struct {
	flows sink.FlowTable[[2]flowSum]
	mu    sync.Mutex
	f     *os.File
	w     *bufio.Writer
}

// flowSum is of one side of one flow.
type flowSum struct {
	bytes uint64
	crc   uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newDigest(path string) (sink.Sink, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &digest{f: f, w: bufio.NewWriterSize(f, 64<<10)}, nil
}

// Event implements session.Handler.
func (d *digest) Event(e *session.Event) {
	switch e.Kind {
	case session.KindOpen:
		d.flows.Put(e.Flow.ID, new([2]flowSum))
	case session.KindData:
		if sums := d.flows.Get(e.Flow.ID); sums != nil {
			s := &sums[e.Side]
			s.bytes += uint64(len(e.Data))
			s.crc = crc32.Update(s.crc, castagnoli, e.Data)
		}
	case session.KindEnd:
		if sums := d.flows.Get(e.Flow.ID); sums != nil {
			d.flows.Remove(e.Flow.ID)
			d.line(e.Flow, sums)
		}
	}
}

func (d *digest) line(f *session.Flow, s *[2]flowSum) {
	cause := f.Cause.String()
	if cause == "" {
		cause = "-"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.w.AvailableBuffer()
	b = append(f.Client.AppendTo(b), ' ')
	b = append(f.Server.AppendTo(b), ' ')
	b = append(append(b, f.Outcome.String()...), ' ')
	b = append(b, cause...)
	for side := range s {
		b = strconv.AppendUint(append(b, ' '), s[side].bytes, 10)
		b = hex.AppendEncode(append(b, ' '), binary.BigEndian.AppendUint32(nil, s[side].crc))
	}
	_, _ = d.w.Write(append(b, '\n')) // Flush has the error
}

// Name implements sink.Sink.
func (d *digest) Name() string { return "digest" }

// Dropped implements sink.Sink.
func (d *digest) Dropped() uint64 { return 0 }

// Flush implements sink.Sink.
func (d *digest) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.w.Flush()
}

// Close implements sink.Sink.
func (d *digest) Close() error {
	if err := d.Flush(); err != nil {
		return err
	}
	return d.f.Close()
}
