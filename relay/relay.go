// SPDX-License-Identifier: Apache-2.0

// Package relay forwards TCP connections byte for byte while an engine reads them, and holds or ends
// those that the engine says. It knows sockets, and nothing of TLS or of where the connections come from.
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// Engine reads one flow and judges it. *session.Session is one. The relay serialises its calls.
type Engine interface {
	Feed(side handshake.Side, t time.Time, b []byte)
	CloseSide(side handshake.Side, t time.Time)
	Reset(side handshake.Side, t time.Time)
	Fail(cause session.Cause, detail string, t time.Time)
	End(t time.Time) *session.Flow
	Flow() *session.Flow
	Waiting() *rsakex.Secret
	Resume(t time.Time)
	Backlog() int
	Verdict() session.Verdict
	Ahead(side handshake.Side, b []byte) int
	Held(side handshake.Side) int
	Refusal() *session.Refusal
	HandshakeDone() bool
}

// Conn is one leg of a flow. *net.TCPConn is one.
type Conn interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// Dialer opens the other leg: a connection to the address that the client dialled, on the client's
// behalf. ctx bounds the attempt.
type Dialer func(ctx context.Context, client, target netip.AddrPort) (Conn, error)

// Defaults for the bounds of a Config.
const (
	DefaultDialTimeout      = 10 * time.Second
	DefaultHandshakeTimeout = 30 * time.Second
	DefaultDrainTimeout     = 5 * time.Second
	DefaultRefuseTimeout    = 5 * time.Second
	DefaultParkAfter        = 2 * time.Second
	DefaultMaxFlows         = 1 << 16
	DefaultMaxHeld          = 1 << 20
	DefaultMaxDiscard       = 4 << 20
)

// Config says how to relay. NewEngine and Dial must be set; any bound that is zero has its default.
type Config struct {
	// NewEngine makes the engine of a flow whose ID, addresses, start and interface are given.
	NewEngine func(session.Flow) Engine
	Dial      Dialer
	// Interface names the way in, for the flows' own record; may be empty.
	Interface string
	Observer  Observer // nil: nobody is told

	DialTimeout      time.Duration
	HandshakeTimeout time.Duration // from a ClientHello to both Finished
	IdleTimeout      time.Duration // without a byte either way; 0: none
	DrainTimeout     time.Duration // for flows to end by themselves at shutdown
	RefuseTimeout    time.Duration // for a refused flow's peers to take the alert and close
	ParkAfter        time.Duration // without a byte, before a flow's goroutines are given up

	MaxFlows   int // more are reset as they come
	MaxHeld    int // bytes held of one direction until they are judged
	MaxBacklog int // bytes queued in the engine above which the flow is not read; 0: the session's default
	MaxDiscard int // bytes taken from each peer of a refused flow, so that it reads the alert

	// OnPanic says what becomes of a flow whose engine panics again when told to fail; otherwise the
	// engine's own policy for malformed does. Zero, alert and reset: it is reset.
	OnPanic session.Action
}

func (c *Config) setDefaults() error {
	if c.NewEngine == nil || c.Dial == nil {
		return errors.New("relay: NewEngine and Dial must be set")
	}
	if c.Observer == nil {
		c.Observer = NopObserver{}
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&c.DialTimeout, DefaultDialTimeout}, {&c.HandshakeTimeout, DefaultHandshakeTimeout},
		{&c.DrainTimeout, DefaultDrainTimeout}, {&c.RefuseTimeout, DefaultRefuseTimeout},
		{&c.ParkAfter, DefaultParkAfter},
	} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	for _, n := range []struct {
		value    *int
		fallback int
	}{
		{&c.MaxFlows, DefaultMaxFlows}, {&c.MaxHeld, DefaultMaxHeld},
		{&c.MaxBacklog, session.DefaultMaxBacklog}, {&c.MaxDiscard, DefaultMaxDiscard},
	} {
		if *n.value <= 0 {
			*n.value = n.fallback
		}
	}
	return nil
}

// Server relays what its listeners accept.
type Server struct {
	cfg    Config
	ids    atomic.Uint64
	active atomic.Int64
	flows  sync.WaitGroup
	shards [numShards]shard
	lot    *lot

	// hard ends what is left after the drain: dials above all.
	hard       context.Context
	cancelHard context.CancelFunc
}

// New returns a server that relays as cfg says.
func New(cfg Config) (*Server, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	l, err := newLot()
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	s := &Server{cfg: cfg, lot: l}
	for i := range s.shards {
		s.shards[i].flows = make(map[*flow]struct{})
	}
	s.hard, s.cancelHard = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts on all listeners until ctx ends. Then it closes them, gives the flows DrainTimeout
// to end by themselves, resets those that are left, and returns when nothing of it runs any more. A
// listener that fails for good stops all and is returned. Serve may be called once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	defer s.cancelHard()
	var helping sync.WaitGroup
	stopped := make(chan struct{})
	helping.Go(s.lot.run)
	helping.Go(func() { s.sweep(stopped) })
	defer func() {
		close(stopped)
		s.lot.close()
		helping.Wait()
	}()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var accepting sync.WaitGroup
	for _, ln := range listeners {
		accepting.Go(func() {
			if err := s.accept(ctx, ln); err != nil {
				stop(err)
			}
		})
	}
	<-ctx.Done()
	for _, ln := range listeners {
		_ = ln.Close()
	}
	accepting.Wait()
	s.drain()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// accept takes connections until the listener is closed because ctx ended.
func (s *Server) accept(ctx context.Context, ln net.Listener) error {
	var pause time.Duration
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			s.take(c, ln)
		case ctx.Err() != nil:
			return nil
		case !passing(err):
			return fmt.Errorf("accepting on %v: %w", ln.Addr(), err)
		default:
			// Out of descriptors or memory: flows that end give some back.
			s.shards[0].acceptFailures.Add(1)
			s.cfg.Observer.AcceptFailed(err)
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			if !wait(ctx, pause) {
				return nil
			}
		}
	}
}

// passing reports whether the next accept may well succeed.
func passing(err error) bool {
	for _, e := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.EINTR, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTUNREACH,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// take starts a flow for an accepted connection, or refuses the connection with a reset.
func (s *Server) take(c net.Conn, ln net.Listener) {
	id := s.ids.Add(1)
	sh := &s.shards[id%numShards]
	sh.accepted.Add(1)
	conn, ok := c.(Conn)
	if !ok {
		_ = c.Close()
		return
	}
	client, target := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
	if s.active.Add(1) > int64(s.cfg.MaxFlows) {
		s.active.Add(-1)
		sh.overLimit.Add(1)
		reset(conn)
		s.cfg.Observer.OverLimit(client, target)
		return
	}
	s.flows.Add(1)
	f := newFlow(s, sh, conn, session.Flow{
		ID: id, Client: client, Server: target, Start: time.Now(), Interface: s.cfg.Interface,
	})
	sh.add(f)
	go f.run()
}

// drain waits for the flows, and resets what is left after DrainTimeout.
func (s *Server) drain() {
	done := make(chan struct{})
	go func() {
		s.flows.Wait()
		close(done)
	}()
	timer := time.NewTimer(s.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	s.cancelHard()
	for i := range s.shards {
		s.shards[i].each(func(f *flow) { f.shutdown() })
	}
	<-done
}

// addrPort returns the address of a TCP connection's end, IPv4 in its own form.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
