// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name, or rewrites it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (run with -update to accept)\n--- got\n%s\n--- want\n%s", name, got, want)
	}
}

// tool returns the path of an installed program, or skips the test; under CI it fails.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// A player gives a sink the events of one flow, a millisecond apart.
type player struct {
	h session.Handler
	f *session.Flow
	e session.Event
	t time.Time
}

func play(h session.Handler, f *session.Flow) *player {
	p := &player{h: h, f: f, t: epoch.Add(time.Duration(f.ID) * time.Second)}
	f.Start = p.t
	p.emit(session.Event{Kind: session.KindOpen})
	return p
}

func (p *player) emit(e session.Event) *player {
	p.e = e
	p.e.Flow, p.e.Time = p.f, p.t
	p.t = p.t.Add(time.Millisecond)
	p.h.Event(&p.e)
	return p
}

func (p *player) established() *player {
	p.f.TLS, p.f.Handshakes, p.f.Outcome = true, p.f.Handshakes+1, session.OutcomeRead
	p.emit(session.Event{Kind: session.KindHello, Side: handshake.Server})
	return p.emit(session.Event{Kind: session.KindEstablished, Side: handshake.Server})
}

func (p *player) data(side handshake.Side, s string) *player {
	p.f.Plaintext[side] += uint64(len(s))
	return p.emit(session.Event{Kind: session.KindData, Side: side, Data: []byte(s)})
}

func (p *player) gap(side handshake.Side, n int) *player {
	p.f.Gaps[side] += uint64(n)
	return p.emit(session.Event{Kind: session.KindGap, Side: side, Lost: n})
}

func (p *player) fin(side handshake.Side) *player {
	return p.emit(session.Event{Kind: session.KindFin, Side: side})
}

func (p *player) rst(side handshake.Side) *player {
	return p.emit(session.Event{Kind: session.KindReset, Side: side})
}

func (p *player) end() {
	p.f.End = p.t
	p.emit(session.Event{Kind: session.KindEnd})
}

const (
	client = handshake.Client
	server = handshake.Server
)

func testFlow(id uint64) *session.Flow {
	return &session.Flow{
		ID:     id,
		Client: netip.MustParseAddrPort("10.77.1.2:40112"),
		Server: netip.MustParseAddrPort("10.77.2.2:443"),
	}
}

func testFlow6(id uint64) *session.Flow {
	f := testFlow(id)
	f.Client = netip.MustParseAddrPort("[2001:db8::1]:40113")
	f.Server = netip.MustParseAddrPort("[2001:db8::2]:8443")
	return f
}
