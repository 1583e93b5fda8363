// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sightglass/sightglass/internal/nettest"
)

// lab is a client, a box and a server with the certificates they need.
type lab struct {
	*nettest.Topology
	t   testing.TB
	pki *pki
	dir string // for files of this test

	ports atomic.Int32
	files atomic.Int32

	mu   sync.Mutex
	java map[string]*javaClient // by their properties
}

// newLab makes the three hosts; they end with the test.
func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{Topology: nettest.Hosts(t), t: t, pki: certificates(t), java: map[string]*javaClient{}}
	var err error
	l.dir, err = os.MkdirTemp(scratch, "lab")
	must(t, err)
	must(t, os.Chmod(l.dir, 0o755))
	return l
}

// port returns a port that nothing in this lab uses yet.
func (l *lab) port() uint16 { return uint16(8000 + l.ports.Add(1)) }

// path returns a path for a new file.
func (l *lab) path(name string) string {
	return filepath.Join(l.dir, fmt.Sprintf("%d-%s", l.files.Add(1), name))
}

// file writes a new file.
func (l *lab) file(name, content string) (string, error) {
	path := l.path(name)
	return path, os.WriteFile(path, []byte(content), 0o644)
}

// command is a program to start.
type command struct {
	name  string
	args  []string
	env   []string // over this process's
	dir   string
	stdin io.Reader
}

// process is a program that runs in one of the hosts.
type process struct {
	*nettest.Process
	name           string
	stdout, stderr output
}

// start starts a program; it ends with the lab at the latest.
func (l *lab) start(ns *nettest.Namespace, c command) (*process, error) {
	path, err := find(c.name)
	if err != nil {
		return nil, err
	}
	p := &process{name: filepath.Base(path)}
	cmd := exec.Command(path, c.args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.dir, c.stdin, &p.stdout, &p.stderr
	cmd.Env = append(append(os.Environ(), "HOME="+l.dir, "LC_ALL=C"), c.env...)
	if cmd.Dir == "" {
		cmd.Dir = l.dir
	}
	p.Process, err = ns.Start(cmd)
	return p, err
}

// hasEnded reports whether a process has ended.
func (p *process) hasEnded() bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// said is all that a process has written, for error messages.
func (p *process) said() string {
	return fmt.Sprintf("%s wrote:\n%s%s", p.name, p.stdout.Bytes(), p.stderr.Bytes())
}

// run runs a program to its end, which is enforced when ctx is over.
func (l *lab) run(ctx context.Context, ns *nettest.Namespace, c command) (*process, error) {
	p, err := l.start(ns, c)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.Done():
		return p, p.Wait()
	case <-ctx.Done():
		p.Kill()
		return p, fmt.Errorf("%s did not end: %w", c.name, ctx.Err())
	}
}

// listening waits for a process to listen.
func (l *lab) listening(ctx context.Context, ns *nettest.Namespace, p *process, port uint16) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.Done(): // no need to wait for it any longer
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := ns.WaitListening(ctx, port); err != nil {
		return fmt.Errorf("%w; %s", err, p.said())
	}
	return nil
}

// server is a listening peer.
type server struct {
	addr4, addr6 netip.AddrPort
	log          func() string // what it said, for people
	stop         func()
	ended        func() bool // by itself
}

// logs waits until what the server said is as wanted; it may still be about to say it.
func (s *server) logs(wanted func(string) bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-tick.C {
		if wanted(s.log()) {
			return true
		}
	}
	return false
}

// addr returns a server's address in one family.
func (s *server) addr(v6 bool) netip.AddrPort {
	if v6 {
		return s.addr6
	}
	return s.addr4
}

// at returns a server that runs in the server host as the given process.
func (l *lab) at(port uint16, p *process) *server {
	s := &server{
		addr4: netip.AddrPortFrom(nettest.Server4, port),
		addr6: netip.AddrPortFrom(nettest.Server6, port),
		log:   func() string { return "" },
		stop:  func() {},
		ended: func() bool { return false },
	}
	if p != nil {
		s.log, s.stop, s.ended = p.said, p.Stop, p.hasEnded
	}
	return s
}

// serve starts a server program and waits until it listens.
func (l *lab) serve(ctx context.Context, port uint16, c command) (*server, error) {
	p, err := l.start(l.Server, c)
	if err != nil {
		return nil, err
	}
	if err := l.listening(ctx, l.Server, p, port); err != nil {
		return nil, err
	}
	return l.at(port, p), nil
}

// box is a running sightglass.
type box struct {
	*process
	l                   *lab
	eve, pcapng, keylog string
}

// inline starts sightglass between client and server, transparent, with the server's key and all
// outputs to files, and waits until it relays.
func (l *lab) inline(ctx context.Context, args ...string) *box {
	l.t.Helper()
	return l.inlineWith(ctx, append([]string{
		"--cert", l.pki.server.certFile, "--key", l.pki.server.keyFile,
	}, args...))
}

// inlineWith is inline with other keys.
func (l *lab) inlineWith(ctx context.Context, args []string) *box {
	l.t.Helper()
	path, err := program()
	must(l.t, err)
	b := &box{l: l, eve: l.path("eve.json"), pcapng: l.path("plain.pcapng"), keylog: l.path("keys.log")}
	b.process, err = l.start(l.Box, command{name: path, args: append([]string{
		"inline", "--interface", nettest.BoxClientLink, "--port", "any",
		"--eve", b.eve, "--pcapng", b.pcapng, "--keylog", b.keylog,
	}, args...)})
	must(l.t, err)
	if _, err := b.stderr.wait(ctx, b.process, boxReady, 0); err != nil {
		l.t.Fatalf("sightglass: %v", err)
	}
	return b
}

// boxReady is what sightglass says when connections are taken.
const boxReady = "transparent on "

// close ends the box in order, and fails the test if it does not end well.
func (b *box) close() {
	b.l.t.Helper()
	must(b.l.t, b.Signal(syscall.SIGTERM))
	patience := time.NewTimer(visitLimit) // flows may have to end first, and outputs be written
	defer patience.Stop()
	select {
	case <-b.Done():
	case <-patience.C:
		b.l.t.Errorf("sightglass did not end: %s", b.said())
		b.Kill()
	}
	if err := b.Wait(); err != nil {
		b.l.t.Errorf("sightglass: %v\n%s", err, b.said())
	}
	if bytes.Contains(b.stderr.Bytes(), []byte("fault of this program")) {
		b.l.t.Errorf("sightglass: %s", b.said())
	}
}

// legs captures what crosses the wires on both sides of the box.
type legs struct {
	client, server *nettest.Capture
}

func (l *lab) capture() *legs {
	l.t.Helper()
	client, err := l.Box.Capture(nettest.BoxClientLink)
	must(l.t, err)
	server, err := l.Box.Capture(nettest.BoxServerLink)
	must(l.t, err)
	return &legs{client, server}
}

// stop returns the streams of both legs, and the packets of the client's.
func (g *legs) stop(t testing.TB) (client, server map[nettest.StreamKey]*nettest.Stream, frames []nettest.Frame) {
	t.Helper()
	streams := func(c *nettest.Capture) (map[nettest.StreamKey]*nettest.Stream, []nettest.Frame) {
		frames, err := c.Stop()
		must(t, err)
		s, err := nettest.Streams(frames)
		must(t, err)
		return s, frames
	}
	client, frames = streams(g.client)
	server, _ = streams(g.server)
	return client, server, frames
}

// sameOnBothLegs compares every stream of one leg with the other's. The client's address and port are
// part of a stream's name, so they have to be the same, too.
func sameOnBothLegs(t testing.TB, client, server map[nettest.StreamKey]*nettest.Stream) {
	t.Helper()
	names := map[nettest.StreamKey]bool{}
	for name := range client {
		names[name] = true
	}
	for name := range server {
		names[name] = true
	}
	for name := range names {
		if err := sameStream(name, client, server); err != nil {
			t.Error(err)
		}
	}
}

// sameStream compares one stream. When a peer has reset the connection, the end of what it sent and of
// what it was sent need not be passed on any more.
func sameStream(name nettest.StreamKey, client, server map[nettest.StreamKey]*nettest.Stream) error {
	if client[name] == nil || server[name] == nil {
		return fmt.Errorf("%v is on one leg only", name)
	}
	from, to := client, server
	if a := name.From.Addr(); a == nettest.Server4 || a == nettest.Server6 {
		from, to = server, client
	}
	sent, passed := from[name].Payload, to[name].Payload
	back := to[name.Reverse()]
	if reset := from[name].RST || back != nil && back.RST; reset && bytes.HasPrefix(sent, passed) {
		return nil
	}
	if !bytes.Equal(sent, passed) {
		return fmt.Errorf("%v: %d bytes were sent, and %d passed on that are not the same", name, len(sent), len(passed))
	}
	return nil
}

// visitLimit bounds one visit of a client.
const visitLimit = 30 * time.Second
