// SPDX-License-Identifier: Apache-2.0

package tproxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/bpf"
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/relay/sock"
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
	name       string
	way        tproxy.Way
	attachment bpf.Attachment
}

var (
	byNftables = steering{"nftables", tproxy.NFTables, bpf.AttachAuto}
	byTCX      = steering{"ebpf", tproxy.EBPF, bpf.AttachTCX}
	byClsact   = steering{"clsact", tproxy.EBPF, bpf.AttachClsact}
)

// forSteerings runs a test for both ways to steer, and for those of the others for which it matters.
func forSteerings(t *testing.T, f func(t *testing.T, s steering), others ...steering) {
	for _, s := range append([]steering{byNftables, byTCX}, others...) {
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
	cfg.Way, cfg.Attachment = s.way, s.attachment
	if cfg.Interfaces == nil {
		cfg.Interfaces = []string{nettest.BoxClientLink}
	}
	cfg.OnError = func(err error) { t.Errorf("steering: %v", err) }
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
		b.steering, err = tproxy.Setup(cfg)
		return err
	})
	if err != nil {
		for _, ln := range b.listeners {
			_ = ln.Close()
		}
		return nil, err
	}
	b.serve()
	return b, nil
}

// serve relays until the box is closed.
func (b *box) serve() {
	var err error
	b.relay, err = relay.New(relay.Config{
		NewEngine:    func(f session.Flow) relay.Engine { return &through{flow: f} },
		Connect:      b.connect,
		Observer:     b,
		DrainTimeout: 10 * time.Millisecond,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- b.relay.Serve(ctx, b.listeners...) }()
	b.closeOnce = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			b.t.Errorf("Serve: %v", err)
		}
		if err := b.steering.Close(); err != nil {
			b.t.Errorf("closing the steering: %v", err)
		}
	})
	b.t.Cleanup(b.closeOnce)
}

// supported ends the test where eBPF is not for this kernel or not for this user; in CI that is a
// failure.
func supported(t testing.TB, err error) {
	t.Helper()
	possible := !errors.Is(err, bpf.ErrPrivilege) && !errors.Is(err, bpf.ErrUnsupported)
	switch {
	case err == nil:
	case possible || os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// bpfFS mounts a BPF file system until the test ends, and returns a path on it.
func bpfFS(t testing.TB) string {
	t.Helper()
	nettest.Require(t)
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("a BPF file system is needed in CI: %v", err)
		}
		t.Skipf("a BPF file system is needed: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "sightglass")
}

func startBox(t testing.TB, host *nettest.Namespace, s steering, cfg tproxy.Config) *box {
	t.Helper()
	b, err := tryBox(t, host, s, cfg, 1)
	supported(t, err)
	return b
}

// connect connects inside the box: the program itself would be there as a whole.
func (b *box) connect(client, target netip.AddrPort, options ...sock.Option) (fd int, err error) {
	err = b.host.Do(func() error {
		fd, err = b.dialer.Connect(client, target, options...)
		return err
	})
	return fd, err
}

func (b *box) stats() tproxy.Stats {
	b.t.Helper()
	st, err := b.steering.Stats()
	if err != nil {
		b.t.Fatal(err)
	}
	return st
}

// childSpec is what a box in a process of its own is told.
type childSpec struct {
	Interfaces []string
	Rules      tproxy.Rules
	WhenDown   tproxy.WhenDown
	Instance   string
	PinPath    string
	Way        tproxy.Way
	Attachment bpf.Attachment
}

// child is a box in a process of its own. It runs until it is killed, or its input ends.
func child(text string) int {
	if err := runChild(text); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func runChild(text string) error {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	if err := upLoopback(); err != nil {
		return err
	}
	listeners, err := tproxy.Listen(context.Background(), "[::]:15443", 2)
	if err != nil {
		return err
	}
	steer, err := tproxy.Setup(tproxy.Config{
		Interfaces: spec.Interfaces, Rules: spec.Rules, WhenDown: spec.WhenDown, Instance: spec.Instance, PinPath: spec.PinPath,
		Way: spec.Way, Attachment: spec.Attachment, Listeners: listeners,
	})
	if err != nil {
		return err
	}
	dialer := &tproxy.Dialer{Port: 15443}
	server, err := relay.New(relay.Config{
		NewEngine: func(f session.Flow) relay.Engine { return &through{flow: f} },
		Connect:   dialer.Connect,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println("ready", steer.Kind(), strings.Join(steer.Warnings(), "; "))
	return errors.Join(server.Serve(ctx, listeners...), steer.Close())
}

// upLoopback is for a process that has a network of its own.
func upLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil && lo.Attrs().Flags&net.FlagUp == 0 {
		err = netlink.LinkSetUp(lo)
	}
	return err
}

// boxProcess is child from its test's side.
type boxProcess struct {
	*nettest.Process
	stdin io.Closer
	says  string // how it is steered, and its warnings
}

// startProcess starts a box in a process of its own and waits until it is ready.
func startProcess(t testing.TB, host *nettest.Namespace, s steering, cfg tproxy.Config, prepare func(*exec.Cmd)) (*boxProcess, error) {
	t.Helper()
	if cfg.Interfaces == nil {
		cfg.Interfaces = []string{nettest.BoxClientLink}
	}
	spec, err := json.Marshal(childSpec{
		Interfaces: cfg.Interfaces, Rules: cfg.Rules, WhenDown: cfg.WhenDown, Instance: cfg.Instance, PinPath: cfg.PinPath,
		Way: s.way, Attachment: s.attachment,
	})
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	out, toOut, err := os.Pipe() // cmd's own would be closed when it ends
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout = toOut
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(cmd)
	}
	p, err := host.Start(cmd)
	_ = toOut.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	says, ready := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ready {
		_ = p.Wait()
		return nil, errors.New(says)
	}
	return &boxProcess{Process: p, stdin: in, says: says}, nil
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
	setDeadline(c)
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

// hangUp serves on an address in a host: tells each client its address as seen, and closes.
func hangUp(t *testing.T, host *nettest.Namespace, addr netip.AddrPort) {
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
			_, _ = io.WriteString(c, c.RemoteAddr().String())
			_ = c.Close()
		}
	}()
}

func setDeadline(c interface{ SetDeadline(time.Time) error }) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
}
