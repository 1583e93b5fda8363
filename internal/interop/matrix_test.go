// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// cell is one way in which two peers can talk.
type cell struct {
	server, client *peer
	version        handshake.Version
	suite          uint16
	resume         resumption
	mutual         bool
	off            switches

	state      state
	problem    string // for people
	begin, end time.Time
	at         *server
	done       visited
}

type state int

const (
	notRun state = iota
	passed
	cannot // the peers cannot do it without the box either
	failed
)

func (c *cell) String() string {
	s := fmt.Sprintf("%s to %s, %v, %s, %s", c.client.name, c.server.name, c.version, handshake.SuiteName(c.suite),
		[...]string{"full", "session ID", "ticket"}[c.resume])
	if c.mutual {
		s += ", mutual"
	}
	if c.off.ems {
		s += ", no extended master secret"
	}
	if c.off.etm {
		s += ", no encrypt-then-MAC"
	}
	return s
}

// uses says which extensions the cell's handshakes have.
func (c *cell) uses() switches {
	all := c.server.extensions.and(c.client.extensions).without(c.off)
	s, _ := handshake.SuiteByID(c.suite)
	all.etm = all.etm && s.Cipher.Params().Kind == handshake.KindBlock
	if c.version == handshake.SSL30 {
		all = switches{}
	}
	return all
}

// setup is the server that a cell needs. What a client can turn off by itself needs no server.
type setup struct {
	peer *peer
	auth clientAuth
	off  switches
	weak bool
}

func (c *cell) setup() setup {
	s, _ := handshake.SuiteByID(c.suite)
	u := setup{peer: c.server, off: c.off.without(c.client.clientTurns), weak: s.Export}
	if c.mutual {
		u.auth = required
	}
	return u
}

// allCells lists every cell that both peers have a name for.
func allCells() []*cell {
	var all []*cell
	for _, s := range peers {
		for _, c := range peers {
			if s.serve != nil && c.visit != nil {
				all = append(all, cellsOf(s, c)...)
			}
		}
	}
	return all
}

func cellsOf(s, c *peer) []*cell {
	var all []*cell
	for _, v := range s.versions {
		for _, suite := range s.suites {
			if !s.speaks(v, suite) || !c.speaks(v, suite) || v < handshake.TLS12 && onlyTLS12(suite) {
				continue
			}
			for _, off := range variants(s, c, v, suite) {
				for resume := full; resume <= byTicket; resume++ {
					if v == handshake.SSL30 && resume == byTicket {
						continue // it knows no extensions
					}
					for _, mutual := range []bool{false, true} {
						all = append(all, &cell{server: s, client: c, version: v, suite: suite, resume: resume, mutual: mutual, off: off})
					}
				}
			}
		}
	}
	return all
}

// variants lists what can be turned off by one of the peers and makes a difference.
func variants(s, c *peer, v handshake.Version, suite uint16) []switches {
	on := (&cell{server: s, client: c, version: v, suite: suite}).uses()
	can := on.and(s.serverTurns.or(c.clientTurns))
	all := []switches{{}}
	if can.ems {
		all = append(all, switches{ems: true})
	}
	if can.etm {
		all = append(all, switches{etm: true})
	}
	if can.ems && can.etm {
		all = append(all, switches{ems: true, etm: true})
	}
	return all
}

// TestMatrix has every peer talk to every other through the box, which must read all that they can
// negotiate. The small form takes cells until everything has been seen somewhere.
func TestMatrix(t *testing.T) {
	limit, cells := 3*time.Minute, allCells()
	switch *matrixSize {
	case "full":
		limit = 3 * time.Hour
	case "small":
		cells = sample(cells)
	default:
		t.Fatalf("-matrix=%s: it is small or full", *matrixSize)
	}
	ctx := bound(t, limit)
	need(t, programsOf(peers...)...)
	l := newLab(t)
	b := l.inlineWith(ctx, []string{
		"--cert", l.pki.server.certFile, "--key", l.pki.server.keyFile, "--cert", l.pki.weak.certFile, "--key", l.pki.weak.keyFile,
	})
	runCells(ctx, l, cells)
	r := b.finish()
	for _, c := range cells {
		switch flows := c.flows(r); c.state {
		case passed:
			c.judge(r, flows)
		case failed:
			c.problem += fmt.Sprintf("\nflows: %v", flows)
		}
	}
	report(t, cells)
}

// runCells makes the visits, two servers at a time: each server has one visitor at a time, so that
// its flows can be told apart by their time.
func runCells(ctx context.Context, l *lab, cells []*cell) {
	bySetup := map[setup][]*cell{}
	var setups []setup
	for _, c := range cells {
		u := c.setup()
		if bySetup[u] == nil {
			setups = append(setups, u)
		}
		bySetup[u] = append(bySetup[u], c)
	}
	work := make(chan setup)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for u := range work {
				u.run(ctx, l, bySetup[u])
			}
		})
	}
	for _, u := range setups {
		work <- u
	}
	close(work)
	workers.Wait()
}

// run starts the server and visits it once for each cell.
func (u setup) run(ctx context.Context, l *lab, cells []*cell) {
	s := serving{port: l.port(), auth: u.auth, off: u.off}
	if u.weak {
		s.identity = l.pki.weak
	}
	srv, err := u.peer.serve(ctx, l, s)
	if err != nil {
		for _, c := range cells {
			c.state, c.problem = failed, "the server did not start: "+err.Error()
		}
		return
	}
	defer srv.stop()
	begin := time.Now()
	for _, c := range cells {
		c.at = srv
		c.run(ctx, l)
	}
	l.t.Logf("%s, %s: %d cells in %v", u.peer.name, [...]string{"no client certificate", "mutual"}[u.auth], len(cells),
		time.Since(begin).Round(time.Millisecond))
}

// run makes one visit through the box; if it fails, another without it.
func (c *cell) run(ctx context.Context, l *lab) {
	ctx, cancel := context.WithTimeout(ctx, visitLimit)
	defer cancel()
	if ctx.Err() != nil {
		c.state, c.problem = failed, "out of time"
		return
	}
	v := visiting{to: c.at.addr4, path: "/matrix", version: c.version, suite: c.suite, certificate: c.mutual, resume: c.resume,
		off: c.off.and(c.client.clientTurns)}
	direct := v
	direct.from = l.Server
	var without visited
	for range 3 {
		if c.visit(ctx, l, v); c.succeeded(c.done) {
			c.state = passed
			return
		}
		without = c.client.visit(ctx, l, direct)
		if c.done.err != nil || !c.succeeded(without) {
			break
		}
	}
	switch {
	case c.succeeded(without):
		c.state, c.problem = failed, fmt.Sprintf("works without the box only: %v\n%s\n%s", c.done.err, c.done.log, c.at.log())
	case c.at.ended():
		c.state, c.problem = failed, "the server has ended:\n"+c.at.log()
	case without.err != nil:
		c.state, c.problem = cannot, without.err.Error()
	default:
		c.state, c.problem = cannot, "not resumed"
	}
}

// visit goes through the box, again while the server declines to resume, as it always may: NSS's does
// while it has not stored the session yet, which gnutls-cli does not wait for.
func (c *cell) visit(ctx context.Context, l *lab, v visiting) {
	for range 10 {
		c.begin = time.Now().Truncate(time.Microsecond)
		c.done = c.client.visit(ctx, l, v)
		c.end = time.Now()
		if c.done.err != nil || c.succeeded(c.done) {
			return
		}
	}
}

func (c *cell) succeeded(v visited) bool {
	return v.err == nil && (c.resume == full || v.resumed)
}

// flows finds those of the cell's visit.
func (c *cell) flows(r *result) []*flow {
	var flows []*flow
	for _, f := range r.flows {
		if c.at != nil && f.server == c.at.addr4 && !f.start.Before(c.begin) && !f.start.After(c.end) {
			flows = append(flows, f)
		}
	}
	return flows
}

// judge looks at what the box read.
func (c *cell) judge(r *result, flows []*flow) {
	want := 1
	if c.resume != full {
		want = 2
	}
	if len(flows) != want {
		c.fail("%d flows, want %d: %v", len(flows), want, flows)
		return
	}
	for i, f := range flows {
		how := full
		if i == 1 {
			how = c.resume
		}
		c.judgeFlow(f, how)
		wellRead(c, f, c.mutual) // a resumed session is still its client's
	}
	read(c, r, flows[want-1], c.done)
}

func (c *cell) judgeFlow(f *flow, how resumption) {
	uses := c.uses()
	if f.Version != c.version.String() || f.Suite != handshake.SuiteName(c.suite) || f.Resumed != how.String() {
		c.fail("read as %s %s resumed %s: %v", f.Version, f.Suite, f.Resumed, f)
	}
	if suite, _ := handshake.SuiteByID(c.suite); suite.Cipher == handshake.CipherNULL {
		uses.etm = f.EtM // OpenSSL agrees on it for NULL too
	}
	if f.EMS != uses.ems || f.EtM != uses.etm {
		c.fail("extended master secret %t, want %t; encrypt-then-MAC %t, want %t", f.EMS, uses.ems, f.EtM, uses.etm)
	}
}

func (c *cell) fail(format string, args ...any) {
	c.state = failed
	c.problem += fmt.Sprintf(format, args...) + "\n"
}

// Helper and Errorf make a cell a place for the checks that tests share.
func (c *cell) Helper() {}

// Errorf notes a failure.
func (c *cell) Errorf(format string, args ...any) { c.fail(format, args...) }
