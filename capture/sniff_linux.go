// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"

	"github.com/sightglass/sightglass/capture/afpacket"
	"github.com/sightglass/sightglass/capture/decap"
	"github.com/sightglass/sightglass/capture/filter"
	"github.com/sightglass/sightglass/capture/pcapng"
	"github.com/sightglass/sightglass/capture/reassembly"
	"github.com/sightglass/sightglass/session"
)

// Sniffer captures from live interfaces. Each socket has a goroutine that reads its ring and takes
// packets, where they lie, through to the sessions: nothing is handed over, so that little time
// passes. Flows are spread over shards with a lock each, as both directions of one may come from
// different interfaces.
type Sniffer struct {
	o       SniffOptions
	readers []*ringReader
	shards  []*shard
	seed    uint64
	ids     atomic.Uint64
	shunted atomic.Uint64
	queued  atomic.Int64 // bytes that wait for the private key
	late    lateSessions
	copy    *pcapng.Live // nil: no copy is asked for
}

// shard is a part of the flows.
type shard struct {
	mu    sync.Mutex
	t     *tracker
	clock clock
	n     uint64
	_     [64]byte
}

const (
	// shardsPerSocket keeps readers from meeting at a shard.
	shardsPerSocket = 8
	maxShards       = 1024
	// behind is how far, in nanoseconds, the flows' clock is behind the real one when no packet comes:
	// packets that are still in a ring are to be in order with what time does.
	behind = 250e6
	// flowQueued is what one flow may queue while the private key is at work, maxQueued what all may,
	// in bytes. Unlike a relay, a tap cannot slow the peers down.
	flowQueued = 2 << 20
	maxQueued  = 256 << 20
)

// NewSniffer opens the sockets, and captures from then on: Run has to follow soon.
func NewSniffer(o SniffOptions) (*Sniffer, error) {
	if len(o.Interfaces) == 0 {
		return nil, errors.New("no interface to capture from")
	}
	o.Bounds = o.Bounds.withDefaults()
	if o.Fanout <= 0 {
		o.Fanout = runtime.GOMAXPROCS(0)
	}
	s := &Sniffer{o: o, seed: rand.Uint64()}
	if o.WithSecrets != nil {
		s.copy = pcapng.NewLive(copyHold, copyLimit)
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(o.Interfaces))) {
		sockets, err := afpacket.OpenFanout(s.socketOptions(name), o.Fanout)
		if err != nil {
			s.close()
			return nil, err
		}
		for _, socket := range sockets {
			s.readers = append(s.readers, &ringReader{s: s, socket: socket, it: segment{origin: new(origin)}})
		}
		s.copyInterface(s.readers[len(s.readers)-len(sockets):])
	}
	for range min(len(s.readers)*shardsPerSocket, maxShards) {
		s.shards = append(s.shards, s.newShard())
	}
	return s, nil
}

func (s *Sniffer) socketOptions(name string) afpacket.Options {
	o := afpacket.Options{
		Interface: name, Snaplen: s.o.Snaplen, RingSize: s.o.RingSize, Promiscuous: s.o.Promiscuous,
	}
	if s.o.Filter != "" {
		o.Filter = func(link afpacket.Link, snaplen uint32) ([]bpf.RawInstruction, error) {
			if link == afpacket.RawIP {
				return filter.Assemble(s.o.Filter, filter.RawIP, snaplen)
			}
			return filter.Assemble(s.o.Filter, filter.Ethernet, snaplen)
		}
	}
	if s.o.Shunter != nil {
		o.Attach = s.o.Shunter.AttachFilter
	}
	return o
}

func (s *Sniffer) newShard() *shard {
	cfg := *s.o.Session
	if s.copy != nil {
		cfg.Handler = &liveTee{s.copy, cfg.Handler}
	}
	cfg.Handler = s.o.Select.handler(cfg.Handler)
	if cfg.MaxBacklog == 0 {
		cfg.MaxBacklog = flowQueued
	}
	if len(s.readers) > 1 {
		cfg.LateSessions = s.late.await
	}
	sh := &shard{t: newTracker(&cfg, s.o.Bounds)}
	make := sh.t.newEngine
	sh.t.newEngine = func(f session.Flow) engine {
		f.ID = s.ids.Add(1)
		return make(f)
	}
	sh.t.onFed = func(f *flow) { s.fed(sh, f) }
	sh.t.onEnd = s.endOf
	return sh
}

// Run captures until ctx ends, and then ends all flows. It returns nil, or what kept interfaces from
// being captured: the others go on.
func (s *Sniffer) Run(ctx context.Context) error {
	defer s.close()
	lost := s.lostInterfaces()
	var readers sync.WaitGroup
	for _, r := range s.readers {
		readers.Go(func() {
			if err := r.run(ctx); err != nil {
				lost.add(r.socket.Interface(), err)
			}
		})
	}
	done := make(chan struct{})
	var ticker sync.WaitGroup
	ticker.Go(func() { s.tick(done) })
	copied := s.startCopy()
	readers.Wait()
	close(done)
	ticker.Wait()
	for _, sh := range s.shards {
		sh.mu.Lock()
		sh.n++
		sh.t.finish(sh.n, sh.clock.at(time.Now().UnixNano()))
		sh.mu.Unlock()
	}
	return errors.Join(errors.Join(lost.errs...), copied())
}

// lostInterfaces are those that cannot be captured any more, each with what its first socket to fail says.
type lostInterfaces struct {
	failed func(error)

	mu    sync.Mutex
	names map[string]bool // of all: whether it is lost
	errs  []error         // one for each that is
}

func (s *Sniffer) lostInterfaces() *lostInterfaces {
	l := &lostInterfaces{failed: s.o.Failed, names: make(map[string]bool)}
	for _, r := range s.readers {
		l.names[r.socket.Interface()] = false
	}
	return l
}

func (l *lostInterfaces) add(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.names[name] {
		return
	}
	l.names[name] = true
	err = fmt.Errorf("%s: %w", name, err)
	l.errs = append(l.errs, err)
	if len(l.errs) < len(l.names) && l.failed != nil {
		l.failed(err)
	}
}

// tick lets the flows know that time goes on, and keeps to the bounds.
func (s *Sniffer) tick(done <-chan struct{}) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	var p pressure
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		s.late.tick()
		held, open := 0, 0
		now := time.Now().UnixNano() - behind
		for _, sh := range s.shards {
			sh.mu.Lock()
			sh.n++
			sh.t.apply(p)
			sh.clock.at(now)
			sh.t.tick(sh.n, sh.clock.now)
			held += sh.t.pool.Held
			open += len(sh.t.flows)
			sh.mu.Unlock()
		}
		p.held = adjust(p.held, held, s.o.Bounds.Held)
		p.flows = adjust(p.flows, open, s.o.Bounds.Flows)
	}
}

func (s *Sniffer) close() {
	for _, r := range s.readers {
		r.socket.Close()
	}
}

// Stats returns the counters. It may be called at any time, from any goroutine.
func (s *Sniffer) Stats() SniffStats {
	st := SniffStats{Shunted: s.shunted.Load()}
	if s.copy != nil {
		st.NotCopied = s.copy.Dropped()
	}
	for _, r := range s.readers {
		r.addTo(&st)
	}
	for _, sh := range s.shards {
		sh.mu.Lock()
		st.add(sh.t)
		st.Open += len(sh.t.flows)
		sh.mu.Unlock()
	}
	return st
}

// ringReader reads the ring of one socket.
type ringReader struct {
	s      *Sniffer
	socket *afpacket.Socket
	number int // of the interface, in the copy
	dec    decap.Decoder
	seg    decap.Segment
	it     segment
	now    Stats // since the last block

	mu    sync.Mutex
	stats Stats
}

// lastLook is how long, after the end, blocks are waited for that the kernel has begun.
const lastLook = 50 * time.Millisecond

func (r *ringReader) run(ctx context.Context) error {
	var b afpacket.Block
	for {
		err := r.socket.Block(&b, 100*time.Millisecond)
		switch {
		case err == nil:
			r.block(&b)
		case !errors.Is(err, afpacket.ErrTimeout):
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	for deadline := time.Now().Add(lastLook); time.Now().Before(deadline); {
		if err := r.socket.Block(&b, time.Until(deadline)); err != nil {
			break
		}
		r.block(&b)
	}
	return nil
}

func (r *ringReader) block(b *afpacket.Block) {
	var p afpacket.Packet
	for b.Next(&p) {
		r.packet(&p)
	}
	r.socket.Release(b)
	r.mu.Lock()
	r.stats.addPackets(&r.now)
	r.mu.Unlock()
	r.now = Stats{}
}

// packet takes a packet to the flow that it is of.
func (r *ringReader) packet(p *afpacket.Packet) {
	r.now.Packets++
	r.now.Bytes += uint64(len(p.Data))
	if r.now.First.IsZero() {
		r.now.First = time.Unix(0, p.Time)
	}
	r.now.Last = time.Unix(0, p.Time)
	if r.s.copy != nil {
		r.copyPacket(p)
	}
	res := r.dec.Decode(r.link(), p.Data, p.Length, p.Time, &r.seg)
	r.now.Results[res]++
	if res != decap.TCP {
		return
	}
	if p.Tagged {
		r.seg.VLAN = p.VLAN() // outside of those in the packet
	}
	it := &r.it
	it.dir = uint8(it.key.set(&r.seg))
	if !r.s.o.Select.endpoints(&it.key) {
		r.now.Excluded++
		return
	}
	it.iface, it.vlan = r.socket.Interface(), r.seg.VLAN
	it.seg = reassembly.Segment{
		Seq: r.seg.Seq, Ack: r.seg.Ack, Flags: r.seg.Flags, Data: r.seg.Payload, Missing: r.seg.Missing,
	}
	r.s.shards[it.key.hash(r.s.seed)%uint64(len(r.s.shards))].packet(it, p.Time)
}

// packet takes a segment that was captured at a time.
func (sh *shard) packet(s *segment, at int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.t.guard()
	sh.n++
	s.n, s.time = sh.n, sh.clock.at(at)
	s.clock = sh.clock.now
	sh.t.packet(s)
}

// link returns what the socket's packets begin with.
func (r *ringReader) link() uint16 {
	if r.socket.Link() == afpacket.RawIP {
		return decap.LinkRaw
	}
	return decap.LinkEthernet
}

// addPackets adds the counters of packets.
func (s *Stats) addPackets(o *Stats) {
	if s.First.IsZero() {
		s.First = o.First
	}
	if !o.Last.IsZero() {
		s.Last = o.Last
	}
	s.Packets += o.Packets
	s.Bytes += o.Bytes
	s.Excluded += o.Excluded
	for i := range s.Results {
		s.Results[i] += o.Results[i]
	}
}

// addTo adds the reader's and its socket's counters.
func (r *ringReader) addTo(st *SniffStats) {
	r.mu.Lock()
	o := r.stats
	r.mu.Unlock()
	if !o.First.IsZero() && (st.First.IsZero() || o.First.Before(st.First)) {
		st.First = o.First
	}
	last := st.Last
	st.addPackets(&o)
	if last.After(st.Last) {
		st.Last = last
	}
	k, _ := r.socket.Stats() // what it could not ask for stays as it was
	n := len(st.Interfaces)
	if n == 0 || st.Interfaces[n-1].Name != r.socket.Interface() {
		st.Interfaces = append(st.Interfaces, InterfaceStats{Name: r.socket.Interface()})
		n++
	}
	i := &st.Interfaces[n-1]
	i.Received += k.Received
	i.Dropped += k.Dropped
	i.Frozen += k.Frozen
}
