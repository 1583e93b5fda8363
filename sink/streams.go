// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/sightglass/sightglass/session"
)

// StreamsOptions say how stream files are written.
type StreamsOptions struct {
	Options     // Order, Append and rotation do not matter here
	MaxOpen int // files open at once; zero is 64
}

// Streams writes the plaintext of each direction to a file of its own in a directory. A file's
// name is made of the flow's number, start and addresses only, never of what a peer says. What was
// lost is not in the files; the file "gaps.tsv" lists it: file, offset, bytes.
type Streams struct {
	base
	flows FlowTable[streamsFlow]
}

type streamsFlow struct {
	name    [2][]byte // of each side's file
	offset  [2]uint64
	started [2]bool
}

// Tags of stream records: the side, flags, and the length of the name in front of the data.
const (
	streamSide  = 1
	streamFirst = 2 // begins a file
	streamGap   = 4 // a line of gaps.tsv
	streamEnd   = 8 // the flow is over
	streamName  = 16
)

// NewStreams creates the directory, with mode 0700, if it does not exist.
func NewStreams(dir string, opt StreamsOptions) (*Streams, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("streams: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("streams: %w", err)
	}
	if opt.MaxOpen <= 0 {
		opt.MaxOpen = 64
	}
	opt.Options.Order = OrderNone
	c := &streamsConsumer{root: root, limit: opt.MaxOpen, files: map[streamKey]*streamFile{}}
	return &Streams{base: base{name: "streams", q: newQueue(opt.Options, c)}}, nil
}

// Event writes plaintext.
func (s *Streams) Event(e *session.Event) {
	switch e.Kind {
	case session.KindData, session.KindGap:
	case session.KindEnd:
		if s.flows.Get(e.Flow.ID) != nil {
			s.flows.Remove(e.Flow.ID)
			s.q.put(nanos(e.Time), e.Flow.ID, streamEnd, nil, nil, nil)
		}
		return
	default:
		return
	}
	f := s.flows.Get(e.Flow.ID)
	if f == nil {
		both := streamBase(e.Flow)
		f = &streamsFlow{name: [2][]byte{[]byte(both + "-client"), []byte(both + "-server")}}
		s.flows.Put(e.Flow.ID, f)
	}
	name := f.name[e.Side]
	if e.Kind == session.KindGap {
		line := fmt.Appendf(nil, "%s\t%d\t%d\n", name, f.offset[e.Side], e.Lost)
		s.q.put(nanos(e.Time), e.Flow.ID, streamGap, line, nil, nil)
		return
	}
	tag := uint32(e.Side) | uint32(len(name))*streamName
	if !f.started[e.Side] {
		f.started[e.Side] = true
		tag |= streamFirst
	}
	f.offset[e.Side] += uint64(len(e.Data))
	s.q.put(nanos(e.Time), e.Flow.ID, tag, name, e.Data, nil)
}

// streamBase makes the part of the name that both directions share.
func streamBase(f *session.Flow) string {
	addr := func(a netip.Addr) string {
		return strings.NewReplacer(":", "-", " ", "-").Replace(a.WithZone("").String())
	}
	return fmt.Sprintf("%06d-%s-%s_%d-%s_%d", f.ID, f.Start.UTC().Format("20060102T150405"),
		addr(f.Client.Addr()), f.Client.Port(), addr(f.Server.Addr()), f.Server.Port())
}

type streamKey struct {
	flow uint64
	side uint32
}

type streamFile struct {
	f    *os.File
	used uint64 // when, in records
}

// streamsConsumer keeps the most recently used files open.
type streamsConsumer struct {
	root  *os.Root
	limit int
	files map[streamKey]*streamFile
	clock uint64
	gaps  *os.File
}

func (c *streamsConsumer) record(r record) error {
	switch {
	case r.tag == streamEnd:
		return errors.Join(c.shut(streamKey{r.flow, 0}), c.shut(streamKey{r.flow, 1}))
	case r.tag == streamGap:
		return c.gap(r.data)
	}
	n := int(r.tag / streamName)
	f, err := c.file(streamKey{r.flow, r.tag & streamSide}, r.data[:n], r.tag&streamFirst != 0)
	if err == nil {
		_, err = f.Write(r.data[n:])
	}
	if err != nil {
		return fmt.Errorf("streams: %w", err)
	}
	return nil
}

func (c *streamsConsumer) gap(line []byte) error {
	if c.gaps == nil {
		f, err := c.root.OpenFile("gaps.tsv", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("streams: %w", err)
		}
		c.gaps = f
	}
	_, err := c.gaps.Write(line)
	return err
}

// file returns the open file of a direction, which it opens, and for its first record empties.
func (c *streamsConsumer) file(k streamKey, name []byte, first bool) (*os.File, error) {
	c.clock++
	if f := c.files[k]; f != nil {
		f.used = c.clock
		return f.f, nil
	}
	if len(c.files) >= c.limit {
		if err := c.shut(c.oldest()); err != nil {
			return nil, err
		}
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if first {
		flags |= os.O_TRUNC
		if fi, err := c.root.Lstat(string(name)); err == nil && !fi.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is there already, and no file", name)
		}
	}
	f, err := c.root.OpenFile(string(name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	c.files[k] = &streamFile{f, c.clock}
	return f, nil
}

func (c *streamsConsumer) oldest() (k streamKey) {
	least := ^uint64(0)
	for key, f := range c.files {
		if f.used < least {
			k, least = key, f.used
		}
	}
	return k
}

func (c *streamsConsumer) shut(k streamKey) error {
	f := c.files[k]
	if f == nil {
		return nil
	}
	delete(c.files, k)
	return f.f.Close()
}

// settle and flush have nothing to do: files are written without a buffer.
func (c *streamsConsumer) settle() error  { return nil }
func (c *streamsConsumer) flush() error   { return nil }
func (c *streamsConsumer) unwritten() int { return 0 }

func (c *streamsConsumer) close() error {
	var errs []error
	for k := range c.files {
		errs = append(errs, c.shut(k))
	}
	if c.gaps != nil {
		errs = append(errs, c.gaps.Close())
	}
	return errors.Join(append(errs, c.root.Close())...)
}
