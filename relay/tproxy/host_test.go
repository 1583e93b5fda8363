// SPDX-License-Identifier: Apache-2.0

package tproxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/relay/tproxy"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// childEnv has a process of this test's binary be a box of its own, to be killed.
const childEnv = "TPROXY_TEST_BOX"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		os.Exit(child(spec))
	}
	code := m.Run()
	if code == 0 && !eventually(func() bool { return !strings.Contains(stacks(), "sightglass/relay.(*") }) {
		_, _ = os.Stderr.WriteString("goroutines were left:\n" + stacks())
		code = 1
	}
	os.Exit(code)
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

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

// steering is a way to steer: the suite is the same for all.
type steering struct {
	name  string
	setup func(tproxy.Config) (tproxy.Steering, error)
}

var steerings = []steering{{"nftables", tproxy.Setup}}

func forSteerings(t *testing.T, f func(t *testing.T, s steering)) {
	for _, s := range steerings {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

// through is an engine that lets everything pass and keeps count.
type through struct{ flow session.Flow }

func (e *through) Feed(side handshake.Side, _ time.Time, b []byte) {
	e.flow.Bytes[side] += uint64(len(b))
}
func (e *through) CloseSide(handshake.Side, time.Time)   {}
func (e *through) Reset(handshake.Side, time.Time)       {}
func (e *through) Fail(session.Cause, string, time.Time) {}
func (e *through) End(time.Time) *session.Flow           { return &e.flow }
func (e *through) Flow() *session.Flow                   { return &e.flow }
func (e *through) Waiting() *rsakex.Secret               { return nil }
func (e *through) Resume(time.Time)                      {}
func (e *through) Backlog() int                          { return 0 }
func (e *through) Verdict() session.Verdict              { return session.Relay }
func (e *through) Ahead(_ handshake.Side, b []byte) int  { return len(b) }
func (e *through) Held(handshake.Side) int               { return 0 }
func (e *through) Refusal() *session.Refusal             { return nil }
func (e *through) HandshakeDone() bool                   { return true }

// box is a relay with its steering, in the topology's box.
type box struct {
	t         testing.TB
	host      *nettest.Namespace
	steering  tproxy.Steering
	relay     *relay.Server
	dialer    *tproxy.Dialer
	listeners []net.Listener
	closeOnce func()

	mu    sync.Mutex
	flows []session.Flow
	fails []error
	relay.NopObserver
}

func (b *box) Ended(f *session.Flow, _ relay.Reason, _ error) {
	b.mu.Lock()
	b.flows = append(b.flows, *f)
	b.mu.Unlock()
}

func (b *box) DialFailed(_, _ netip.AddrPort, err error) {
	b.mu.Lock()
	b.fails = append(b.fails, err)
	b.mu.Unlock()
}

// ended waits until n flows have ended and returns them.
func (b *box) ended(n int) []session.Flow {
	b.t.Helper()
	var flows []session.Flow
	if !eventually(func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		flows = append(flows[:0], b.flows...)
		return len(flows) >= n
	}) {
		b.t.Fatalf("%d flows ended, want %d", len(flows), n)
	}
	return flows
}

// tryBox starts a box; its error is Setup's.
func tryBox(t testing.TB, host *nettest.Namespace, s steering, cfg tproxy.Config, listeners int) (*box, error) {
	t.Helper()
	b := &box{t: t, host: host}
	if cfg.Interfaces == nil {
		cfg.Interfaces = []string{nettest.BoxClientLink}
	}
	err := host.Do(func() (err error) {
		b.listeners, err = tproxy.Listen(context.Background(), "[::]:0", listeners)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listeners = b.listeners
	b.dialer = &tproxy.Dialer{Port: uint16(b.listeners[0].Addr().(*net.TCPAddr).Port)}
	err = host.Do(func() (err error) {
		b.steering, err = s.setup(cfg)
		return err
	})
	if err != nil {
		for _, ln := range b.listeners {
			_ = ln.Close()
		}
		return nil, err
	}
	b.relay, err = relay.New(relay.Config{
		NewEngine:    func(f session.Flow) relay.Engine { return &through{flow: f} },
		Dial:         b.dial,
		Observer:     b,
		DrainTimeout: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- b.relay.Serve(ctx, b.listeners...) }()
	b.closeOnce = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := b.steering.Close(); err != nil {
			t.Errorf("closing the steering: %v", err)
		}
	})
	t.Cleanup(b.closeOnce)
	return b, nil
}

func startBox(t testing.TB, host *nettest.Namespace, s steering, cfg tproxy.Config) *box {
	t.Helper()
	b, err := tryBox(t, host, s, cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dial dials inside the box: the program itself would be there as a whole.
func (b *box) dial(ctx context.Context, client, target netip.AddrPort) (c relay.Conn, err error) {
	err = b.host.Do(func() error {
		tcp, err := b.dialer.Dial(ctx, client, target)
		if err == nil {
			c = tcp
		}
		return err
	})
	return c, err
}

func (b *box) stats() tproxy.Stats {
	b.t.Helper()
	st, err := b.steering.Stats()
	if err != nil {
		b.t.Fatal(err)
	}
	return st
}

// child is a box in a process of its own. It runs until it is killed, or its input ends.
func child(spec string) int {
	var cfg tproxy.Config
	var way string
	if err := json.Unmarshal([]byte(spec), &struct {
		Config *tproxy.Config
		Way    *string
	}{&cfg, &way}); err != nil {
		fmt.Println(err)
		return 2
	}
	listeners, err := tproxy.Listen(context.Background(), "[::]:15443", 2)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	cfg.Listeners = listeners
	var steer tproxy.Steering
	for _, s := range steerings {
		if s.name == way {
			steer, err = s.setup(cfg)
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	dialer := &tproxy.Dialer{Port: 15443}
	server, err := relay.New(relay.Config{
		NewEngine: func(f session.Flow) relay.Engine { return &through{flow: f} },
		Dial: func(ctx context.Context, client, target netip.AddrPort) (relay.Conn, error) {
			return dialer.Dial(ctx, client, target)
		},
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println("ready")
	err = server.Serve(ctx, listeners...)
	if err == nil {
		err = steer.Close()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// boxProcess is child from its test's side.
type boxProcess struct {
	*nettest.Process
	stdin io.Closer
}

// startProcess starts a box in a process of its own and waits until it is ready.
func startProcess(t testing.TB, host *nettest.Namespace, s steering, cfg tproxy.Config, prepare func(*exec.Cmd)) (*boxProcess, error) {
	t.Helper()
	if cfg.Interfaces == nil {
		cfg.Interfaces = []string{nettest.BoxClientLink}
	}
	spec, err := json.Marshal(map[string]any{"Config": cfg, "Way": s.name})
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(cmd)
	}
	p, err := host.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, _ := out.Read(buf)
	if line := strings.TrimSpace(string(buf[:n])); line != "ready" {
		_ = p.Wait()
		return nil, fmt.Errorf("%s", line)
	}
	return &boxProcess{Process: p, stdin: in}, nil
}

// stop ends the process in order.
func (p *boxProcess) stop(t testing.TB) {
	t.Helper()
	_ = p.stdin.Close()
	if err := p.Wait(); err != nil {
		t.Errorf("the box ended: %v", err)
	}
}

// echo serves on an address in a host, tells each client its address as seen, and then echoes.
func echo(t testing.TB, host *nettest.Namespace, addr netip.AddrPort) {
	t.Helper()
	ln, err := host.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = fmt.Fprintln(c, c.RemoteAddr())
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// talk connects from the client, checks that its bytes come back, and returns the address that the
// server saw and the client's own.
func talk(t testing.TB, top *nettest.Topology, target netip.AddrPort, payload string) (seen, own netip.AddrPort) {
	t.Helper()
	c, err := top.Client.Dial("tcp", target.String())
	if err != nil {
		t.Fatal(err)
	}
	return converse(t, c, payload)
}

func converse(t testing.TB, c net.Conn, payload string) (seen, own netip.AddrPort) {
	t.Helper()
	defer c.Close()
	seen, got, err := hear(c, payload)
	if err != nil || got != payload {
		t.Fatalf("%v: got %d bytes back, %v; want %d", c.RemoteAddr(), len(got), err, len(payload))
	}
	return seen, c.LocalAddr().(*net.TCPAddr).AddrPort()
}

func hear(c net.Conn, payload string) (netip.AddrPort, string, error) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		_, _ = io.WriteString(c, payload)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	b, err := io.ReadAll(c)
	line, rest, _ := strings.Cut(string(b), "\n")
	if err != nil {
		return netip.AddrPort{}, rest, err
	}
	seen, err := netip.ParseAddrPort(line)
	return seen, rest, err
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

var servers = []netip.Addr{nettest.Server4, nettest.Server6}

// reachable reports whether the client can connect within a short time.
func reachable(top *nettest.Topology, target netip.AddrPort) bool {
	var c net.Conn
	err := top.Client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", target.String(), 150*time.Millisecond)
		return err
	})
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}
