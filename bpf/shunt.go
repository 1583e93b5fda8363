// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// defaultIdle is how long a shunted flow may be quiet and still be the same flow.
const defaultIdle = 5 * time.Minute

// A ShuntOption changes what NewShunt makes.
type ShuntOption func(*shuntConfig)

type shuntConfig struct {
	flows    int
	idle     time.Duration
	passEnds bool
}

// ShuntIdle sets how long a flow may be quiet before it is forgotten; 5 minutes if it is not set.
func ShuntIdle(d time.Duration) ShuntOption { return func(c *shuntConfig) { c.idle = d } }

// ShuntPassEnds lets packets with FIN or RST of shunted flows through, uncounted, so that the reader
// sees when a flow is over, and can take its counts with Remove.
func ShuntPassEnds() ShuntOption { return func(c *shuntConfig) { c.passEnds = true } }

// A Shunt drops packets of flows that have been judged before a packet socket's reader sees them. Its
// methods may be called from any goroutine.
type Shunt struct {
	cfg  shuntConfig
	maps shuntMaps

	mu       sync.Mutex
	programs map[string]*ebpf.Program // by the filter that goes before
	added    uint64
	closed   bool
}

// NewShunt makes a table for as many flows as maxFlows. When it is full the one that was quiet for
// longest makes way, and is not shunted any more.
func NewShunt(maxFlows int, options ...ShuntOption) (*Shunt, error) {
	s := &Shunt{
		cfg:      shuntConfig{flows: maxFlows, idle: defaultIdle},
		programs: make(map[string]*ebpf.Program),
	}
	for _, o := range options {
		o(&s.cfg)
	}
	spec, err := s.cfg.spec(nil)
	if err != nil {
		return nil, err
	}
	var objects shuntObjects
	if err := load("the shunting filter", spec, &objects, shuntNeeds); err != nil {
		return nil, err
	}
	s.maps = objects.shuntMaps
	s.programs[""] = objects.Shunt
	return s, nil
}

// spec is the program with all that is constant set, and a filter before it. It touches nothing of the
// kernel's.
func (c *shuntConfig) spec(filter []bpf.RawInstruction) (*ebpf.CollectionSpec, error) {
	if c.flows < 1 || c.flows > 1<<24 {
		return nil, fmt.Errorf("a table of %d shunted flows is not possible", c.flows)
	}
	if c.idle <= 0 {
		return nil, fmt.Errorf("an idle time of %v for shunted flows is not possible", c.idle)
	}
	spec, err := loadShunt()
	if err != nil {
		return nil, err
	}
	spec.Maps[shuntMapFlows].MaxEntries = uint32(c.flows)
	snap := ^uint32(0)
	if filter != nil {
		program := spec.Programs[shuntProgShunt]
		if program.Instructions, snap, err = prependFilter(filter, program.Instructions); err != nil {
			return nil, err
		}
	}
	ends := uint32(0)
	if c.passEnds {
		ends = 1
	}
	err = errors.Join(
		spec.Variables[shuntVarSnapLength].Set(snap),
		spec.Variables[shuntVarIdleLimit].Set(uint64(c.idle)),
		spec.Variables[shuntVarPassEnds].Set(ends))
	if err != nil {
		return nil, fmt.Errorf("setting up the shunting filter: %w", err)
	}
	return spec, nil
}

// Attach makes the shunt the filter of a packet socket, which must be of type SOCK_RAW. Several
// sockets may share one Shunt. A socket has one filter only: see AttachFilter for one that has a
// capture filter, too. The socket keeps the filter, and the table with it, when the Shunt is closed.
func (s *Shunt) Attach(fd int) error { return s.AttachFilter(fd, nil) }

// AttachFilter is Attach for a socket with a filter in classic BPF: what the filter refuses is not
// captured, and what it accepts is shunted or captured. The most that any of the filter's returns
// accepts is what is captured of each packet. Sockets with the same filter share a program.
func (s *Shunt) AttachFilter(fd int, filter []bpf.RawInstruction) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errShuntClosed
	}
	program, err := s.program(filter)
	if err != nil {
		return err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, program.FD())
	return explain("attaching the shunting filter", err, nil)
}

// program loads the filter's program unless it is there, with the tables of the first one.
func (s *Shunt) program(filter []bpf.RawInstruction) (*ebpf.Program, error) {
	key := fmt.Sprint(filter)
	if len(filter) == 0 {
		key = ""
	}
	if p := s.programs[key]; p != nil {
		return p, nil
	}
	spec, err := s.cfg.spec(filter)
	if err != nil {
		return nil, err
	}
	var objects struct {
		Shunt *ebpf.Program `ebpf:"shunt"`
	}
	err = spec.LoadAndAssign(&objects, &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{
		shuntMapFlows:  s.maps.Flows,
		shuntMapTotals: s.maps.Totals,
	}})
	if err != nil {
		return nil, explain("loading the shunting filter behind a capture filter", err, shuntNeeds)
	}
	s.programs[key] = objects.Shunt
	return objects.Shunt, nil
}

// shuntKey and shuntFlow are the table's key and value as shunt.c has them.
type shuntKey struct {
	Low, High         [16]byte
	LowPort, HighPort [2]byte // network byte order
	Family            uint32
}

type shuntFlow struct {
	Last    uint64 // nanoseconds of the monotonic clock
	Packets uint64
	Bytes   uint64
}

// keyOf is the same for both orders of a and b.
func keyOf(a, b netip.AddrPort) (k shuntKey, err error) {
	low, high := unmap(a), unmap(b)
	if low.Compare(high) > 0 {
		low, high = high, low
	}
	if !low.IsValid() || !high.IsValid() || low.Addr().Is4() != high.Addr().Is4() {
		return k, fmt.Errorf("%v and %v are not the ends of a flow", a, b)
	}
	k.Family = unix.AF_INET6
	if low.Addr().Is4() {
		k.Family = unix.AF_INET
	}
	copy(k.Low[:], low.Addr().AsSlice())
	copy(k.High[:], high.Addr().AsSlice())
	binary.BigEndian.PutUint16(k.LowPort[:], low.Port())
	binary.BigEndian.PutUint16(k.HighPort[:], high.Port())
	return k, nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// Add drops the packets of the TCP connection between a and b, whichever is the client, from now on.
// A flow that is shunted already starts again at zero.
//
// A packet that was captured before and not yet read may be the SYN of another connection with the
// same ends. So a reader that comes upon a SYN calls Remove.
func (s *Shunt) Add(a, b netip.AddrPort) error {
	key, err := keyOf(a, b)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errShuntClosed
	}
	now, err := monotonic()
	if err != nil {
		return err
	}
	if err := s.maps.Flows.Put(key, shuntFlow{Last: now}); err != nil {
		return fmt.Errorf("adding a flow to shunt: %w", err)
	}
	s.added++
	return nil
}

// monotonic is the clock that programs in the kernel read.
func monotonic() (uint64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("reading the monotonic clock: %w", err)
	}
	return uint64(ts.Nano()), nil
}

// Flow returns what was dropped of a flow, and whether it is one that is shunted.
func (s *Shunt) Flow(a, b netip.AddrPort) (Count, bool, error) {
	return s.take(a, b, s.maps.Flows.Lookup)
}

// Remove lets a flow's packets through again, and returns what was dropped of it, and whether it was
// one that was shunted.
func (s *Shunt) Remove(a, b netip.AddrPort) (Count, bool, error) {
	return s.take(a, b, func(key, value any) error {
		if err := s.maps.Flows.Lookup(key, value); err != nil {
			return err
		}
		return s.maps.Flows.Delete(key)
	})
}

func (s *Shunt) take(a, b netip.AddrPort, from func(key, value any) error) (Count, bool, error) {
	key, err := keyOf(a, b)
	if err != nil {
		return Count{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Count{}, false, errShuntClosed
	}
	var flow shuntFlow
	if err := from(key, &flow); errors.Is(err, ebpf.ErrKeyNotExist) {
		return Count{}, false, nil
	} else if err != nil {
		return Count{}, false, fmt.Errorf("looking up a shunted flow: %w", err)
	}
	return Count{flow.Packets, flow.Bytes}, true, nil
}

// ShuntStats are the counts since NewShunt, of all sockets.
type ShuntStats struct {
	// Shunted is what no reader saw.
	Shunted Count
	// Added is how often a flow was added; Restarted, how often a SYN on its addresses took one out;
	// Expired, how often one came back after it had been idle for too long.
	Added, Restarted, Expired uint64
}

// Stats reads the counters. They run on meanwhile.
func (s *Shunt) Stats() (ShuntStats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ShuntStats{}, errShuntClosed
	}
	st := ShuntStats{Added: s.added}
	var restarted, expired Count
	// In the order of shunt.c.
	for i, total := range []*Count{&st.Shunted, &restarted, &expired} {
		if err := readCount(s.maps.Totals, uint32(i), total); err != nil {
			return ShuntStats{}, err
		}
	}
	st.Restarted, st.Expired = restarted.Packets, expired.Packets
	return st, nil
}

var errShuntClosed = errors.New("the shunt was closed")

// Close gives back what is not in use by a socket.
func (s *Shunt) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for _, p := range slices.Collect(maps.Values(s.programs)) {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, s.maps.Close())...)
}
