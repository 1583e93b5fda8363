// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

const (
	client = handshake.Client
	server = handshake.Server
)

// TestMain fails when a goroutine of the relay outlives all tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && !eventually(func() bool { return !strings.Contains(stacks(), "relay.(*") }) {
		_, _ = os.Stderr.WriteString("goroutines were left:\n" + stacks())
		code = 1
	}
	os.Exit(code)
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// eventually asks until cond holds, for what nothing tells of.
func eventually(cond func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if cond() {
			return true
		}
	}
	return false
}

// fake is an engine that does what a test's script says. Its fields are the engine's own while the
// flow lives, under the flow's lock.
type fake struct {
	flow     session.Flow
	onFeed   func(e *fake, side handshake.Side, b []byte)
	onFail   func(e *fake, c session.Cause)
	onEnd    func(e *fake)
	onResume func()
	ahead    func(e *fake, side handshake.Side, b []byte) int
	verdict  session.Verdict
	refusal  *session.Refusal
	held     [2]int
	fed      [2][]byte
	order    []handshake.Side
	secret   *rsakex.Secret
	backlog  int
	discard  bool // keep nothing of what is fed
	busy     bool // a handshake is in progress
	events   []string
	ended    chan struct{}
}

func (e *fake) Feed(side handshake.Side, _ time.Time, b []byte) {
	if e.discard {
		return
	}
	e.fed[side] = append(e.fed[side], b...)
	if n := len(e.order); n == 0 || e.order[n-1] != side {
		e.order = append(e.order, side)
	}
	e.flow.Bytes[side] += uint64(len(b))
	if e.onFeed != nil {
		e.onFeed(e, side, b)
	}
}

func (e *fake) CloseSide(side handshake.Side, _ time.Time) { e.note("fin " + side.String()) }
func (e *fake) Reset(side handshake.Side, _ time.Time)     { e.note("reset " + side.String()) }
func (e *fake) note(s string)                              { e.events = append(e.events, s) }

func (e *fake) Fail(c session.Cause, _ string, _ time.Time) {
	e.note("fail " + c.String())
	if e.flow.Cause == session.CauseNone {
		e.flow.Cause = c
	}
	e.busy = false
	if e.onFail != nil {
		e.onFail(e, c)
	}
}

func (e *fake) End(time.Time) *session.Flow {
	if e.onEnd != nil {
		e.onEnd(e)
	}
	close(e.ended)
	return &e.flow
}

func (e *fake) Flow() *session.Flow     { return &e.flow }
func (e *fake) Waiting() *rsakex.Secret { return e.secret }
func (e *fake) Resume(time.Time) {
	e.note("resume")
	e.secret, e.backlog = nil, 0
	if e.onResume != nil {
		e.onResume()
	}
}
func (e *fake) Backlog() int { return e.backlog }
func (e *fake) Verdict() session.Verdict {
	return e.verdict
}

func (e *fake) Ahead(side handshake.Side, b []byte) int {
	if e.ahead != nil {
		return e.ahead(e, side, b)
	}
	return 0
}

func (e *fake) Held(side handshake.Side) int {
	if e.verdict == session.Bypass {
		return 0
	}
	return e.held[side]
}

func (e *fake) Refusal() *session.Refusal { return e.refusal }
func (e *fake) HandshakeDone() bool       { return !e.busy }

// alertBoth refuses the flow as the engine does, with recognisable alerts.
func (e *fake) alertBoth(c session.Cause) {
	e.verdict = session.Refuse
	e.flow.Cause = c
	e.refusal = &session.Refusal{Cause: c, Action: session.ActionAlert, ToClient: []byte("alert to client"), ToServer: []byte("alert to server")}
}

func (e *fake) resetBoth(c session.Cause) {
	e.verdict = session.Refuse
	e.flow.Cause = c
	e.refusal = &session.Refusal{Cause: c, Action: session.ActionReset}
}

// rig is a relay on loopback, in front of a server that the test plays.
type rig struct {
	t        testing.TB
	relay    *Server
	address  string
	upstream *net.TCPListener
	stop     func()

	mu      sync.Mutex
	engines []*fake
	ended   []Reason
	NopObserver
}

func (r *rig) Ended(_ *session.Flow, why Reason, _ error) {
	r.mu.Lock()
	r.ended = append(r.ended, why)
	r.mu.Unlock()
}

// newRig starts a relay whose engines are made by script; cfg may preset bounds.
func newRig(t testing.TB, cfg Config, script func(e *fake)) *rig {
	t.Helper()
	up, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, upstream: up}
	cfg.NewEngine = func(f session.Flow) Engine {
		e := &fake{flow: f, ended: make(chan struct{})}
		if script != nil {
			script(e)
		}
		r.mu.Lock()
		r.engines = append(r.engines, e)
		r.mu.Unlock()
		return e
	}
	if !cfg.Upstream.IsValid() && cfg.Lookup == nil {
		cfg.Upstream, _ = Fixed(up.Addr().String())
	}
	if cfg.Observer == nil {
		cfg.Observer = r
	}
	r.relay, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.relay.Serve(ctx, ln) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		_ = up.Close()
		r.stop()
	})
	return r
}

func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func (r *rig) accept() *net.TCPConn {
	r.t.Helper()
	_ = r.upstream.SetDeadline(time.Now().Add(10 * time.Second))
	c, err := r.upstream.AcceptTCP()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// pair opens a flow: the client's connection and the server's.
func (r *rig) pair() (c, s *net.TCPConn) {
	r.t.Helper()
	c = r.dial()
	return c, r.accept()
}

// end waits for the end of the first flow and returns its engine, which nothing uses any more.
func (r *rig) end() *fake {
	r.t.Helper()
	e := r.engine()
	select {
	case <-e.ended:
	case <-time.After(10 * time.Second):
		r.t.Fatal("the flow did not end:\n" + stacks())
	}
	return e
}

func (r *rig) engine() *fake {
	r.t.Helper()
	var e *fake
	if !eventually(func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.engines) > 0 {
			e = r.engines[0]
		}
		return e != nil
	}) {
		r.t.Fatal("no flow began")
	}
	return e
}

// wantEnded waits until flows have ended for exactly these reasons.
func (r *rig) wantEnded(want ...Reason) {
	r.t.Helper()
	var got []Reason
	if !eventually(func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = slices.Clone(r.ended)
		return slices.Equal(got, want)
	}) {
		r.t.Fatalf("flows ended as %v, want %v", got, want)
	}
}

func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatalf("sending %q: %v", s, err)
	}
}

func expect(t testing.TB, c net.Conn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("received %q, %v; want %q", got[:n], err, want)
	}
}

func expectEOF(t testing.TB, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read %d bytes, %v; want the end of the stream", n, err)
	}
}

func expectReset(t testing.TB, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read %d bytes, %v; want a reset", n, err)
	}
}

func rst(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// expectNothing asserts that nothing was delivered by the time that something else provably was.
func expectNothing(t testing.TB, c *net.TCPConn) {
	t.Helper()
	err := control(c, func(fd int) error {
		n, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EAGAIN {
			t.Errorf("received %d bytes, %v; want none yet", n, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func all(e *fake, _ handshake.Side, b []byte) int { return len(b) }
