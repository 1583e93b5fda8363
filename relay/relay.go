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
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/relay/sock"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
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

// Connect opens the other leg of a flow, on the client's behalf: it begins to connect a socket to target,
// without blocking and with the options, and returns its descriptor, which the relay closes.
type Connect func(client, target netip.AddrPort, options ...sock.Option) (fd int, err error)

// Lookup finds where the other leg of a flow may lead, to be tried in turn. It may block until ctx ends.
type Lookup func(ctx context.Context) ([]netip.AddrPort, error)

// Defaults for the bounds of a Config.
const (
	DefaultDialTimeout      = 10 * time.Second
	DefaultHandshakeTimeout = 30 * time.Second
	DefaultDrainTimeout     = 5 * time.Second
	DefaultRefuseTimeout    = 5 * time.Second
	DefaultMaxFlows         = 1 << 16
	DefaultMaxHeld          = 1 << 20
	DefaultMaxDiscard       = 4 << 20
	DefaultPressAbove       = 64 << 20
)

// Config says how to relay. NewEngine must be set; any bound that is zero has its default.
type Config struct {
	// NewEngine makes the engine of a flow whose ID, addresses, start and interface are given.
	NewEngine func(session.Flow) Engine
	Connect   Connect // nil: from an address of the host's own
	// Where flows lead to, if that is not what their clients dialled. Upstream is an address, Lookup finds
	// others for each flow.
	Upstream netip.AddrPort
	Lookup   Lookup
	// Room, if set, says whether new connections may be taken now. It is asked often.
	Room func() bool
	// Chore, if set, makes a loop's chore. Every loop calls it once, on its own goroutine. What is to be done may be shared.
	Chore func() Chore
	// Nice, if not zero, is the nice value (setpriority(2)) of a loop's thread, and of no other, while it carries bytes, if it may have
	// that.
	Nice int
	// KeepAwake has the processors wake at once, at the cost of power, while handshakes are on their way, if it may ask for that.
	KeepAwake bool
	// Interface names the way in, for the flows' own record; may be empty.
	Interface string
	Observer  Observer // nil: nobody is told

	DialTimeout      time.Duration
	HandshakeTimeout time.Duration // from a ClientHello to both Finished
	IdleTimeout      time.Duration // without a byte either way; 0: none
	DrainTimeout     time.Duration // for flows to end by themselves at shutdown
	RefuseTimeout    time.Duration // for a refused flow's peers to take the alert and close

	MaxFlows   int // more are reset as they come
	MaxHeld    int // bytes held of one direction until they are judged
	MaxBacklog int // bytes queued in the engine above which the flow is not read; 0: the session's default
	MaxDiscard int // bytes taken from each peer of a refused flow, so that it reads the alert
	PressAbove int // bytes queued in all engines above which the chore is pressed; those of short connections do not count

	// OnPanic says what becomes of a flow whose engine panics again when told to fail; otherwise the
	// engine's own policy for malformed does. Zero, alert and reset: it is reset.
	OnPanic session.Action

	askAfter     time.Duration // how long a handshake's secret is put off
	alwaysSplice bool          // what is bypassed, even where little comes
	alwaysShare  bool          // flows go from loop to loop
}

// Chore is work that nobody waits for, of the moments in which a loop has nothing else to do. Its methods are called by one
// goroutine at a time.
type Chore interface {
	// Step does a bit of it, no longer than what comes meanwhile may wait (8 to 40 µs), and reports whether there was any.
	Step() bool
	// Due returns since or from when there is some, as far as that is known; zero: none is.
	Due() time.Time
	// Pressed reports whether it piles up, or has waited for too long for a moment to spare.
	Pressed(now time.Time) bool
	// Spare reports whether there is some that another loop could begin at once.
	Spare(now time.Time) bool
	// Close does to its end what was begun, and no more. It may be called again.
	Close()
}

// noChore is nothing to do.
type noChore struct{}

func (noChore) Step() bool             { return false }
func (noChore) Due() time.Time         { return time.Time{} }
func (noChore) Pressed(time.Time) bool { return false }
func (noChore) Spare(time.Time) bool   { return false }
func (noChore) Close()                 {}

func (c *Config) setDefaults() error {
	if c.NewEngine == nil {
		return errors.New("relay: NewEngine must be set")
	}
	if c.Connect == nil {
		c.Connect = connectPlainly
	}
	if c.Observer == nil {
		c.Observer = NopObserver{}
	}
	if c.Chore == nil {
		c.Chore = func() Chore { return noChore{} }
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&c.DialTimeout, DefaultDialTimeout}, {&c.HandshakeTimeout, DefaultHandshakeTimeout},
		{&c.DrainTimeout, DefaultDrainTimeout}, {&c.RefuseTimeout, DefaultRefuseTimeout},
		{&c.askAfter, askAfter},
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
		{&c.PressAbove, DefaultPressAbove},
	} {
		if *n.value <= 0 {
			*n.value = n.fallback
		}
	}
	return nil
}

// Server relays what its listeners accept, on one loop or, as far as that is busy, on one a processor.
type Server struct {
	cfg     Config
	ids     atomic.Uint64
	active  atomic.Int64
	backlog atomic.Int64 // bytes queued in engines, as far as flows account for them
	loops   []*loop
	usual   int // nice value, as the program was started

	lookups sync.WaitGroup

	// hard ends what is left after the drain: lookups above all.
	hard       context.Context
	cancelHard context.CancelFunc
}

// mostReady is for how many sockets there is room before any comes, two a flow: 8 MB of the kernel's.
const mostReady = 1 << 20

// New returns a server that relays as cfg says.
func New(cfg Config) (*Server, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg}
	s.hard, s.cancelHard = context.WithCancel(context.Background())
	var err error
	if s.usual, err = sock.Nice(sock.Thread()); err != nil {
		return nil, fmt.Errorf("relay: %w", os.NewSyscallError("getpriority", err))
	}
	for range runtime.GOMAXPROCS(0) {
		l, err := newLoop(s)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("relay: %w", err)
		}
		s.loops = append(s.loops, l)
	}
	_ = sock.MakeRoom(2 * min(s.cfg.MaxFlows, mostReady/2)) // it is as right without, and slower
	return s, nil
}

// Serve accepts on all listeners until ctx ends, and takes them over. Then it closes them, gives the flows
// DrainTimeout to end by themselves, resets those that are left, and returns when nothing of it runs any
// more. A listener that fails for good stops all and is returned. Serve may be called once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	defer s.close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	sockets, err := takeOver(listeners)
	if err != nil {
		return err
	}
	for _, l := range s.loops {
		err = errors.Join(err, l.listen(sockets))
	}
	closeAll(sockets) // each loop has its own descriptors
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	for _, l := range s.loops {
		running.Go(func() { l.run(stop) })
	}
	<-ctx.Done()
	for _, l := range s.loops {
		l.post(l.stopAccepting)
	}
	drained := make(chan struct{})
	go func() {
		running.Wait()
		close(drained)
	}()
	timer := time.NewTimer(s.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
		s.cancelHard()
		for _, l := range s.loops {
			l.post(l.shutdown)
		}
		<-drained
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

func (s *Server) close() {
	s.cancelHard()
	s.lookups.Wait()
	for _, l := range s.loops {
		l.close()
	}
}

// listener is a listening socket that the loops accept on.
type listener struct {
	fd   int
	addr net.Addr
}

// takeOver has the listeners' sockets out of the runtime's poller, which would wake a thread for each
// connection.
func takeOver(listeners []net.Listener) (all []listener, err error) {
	var errs []error
	for _, ln := range listeners {
		l := listener{fd: -1, addr: ln.Addr()}
		var err error
		conn, ok := ln.(syscall.Conn)
		if !ok {
			err = fmt.Errorf("relay: a %T is no socket", ln)
		} else {
			err = control(conn, func(fd int) (err error) {
				l.fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
				return os.NewSyscallError("fcntl", err)
			})
		}
		_ = ln.Close()
		if err == nil {
			all = append(all, l)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		closeAll(all)
		return nil, err
	}
	return all, nil
}

func closeAll(listeners []listener) {
	for _, l := range listeners {
		_ = unix.Close(l.fd)
	}
}

// control calls fn with the descriptor of a socket, which is open during the call.
func control(c syscall.Conn, fn func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
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
