// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/rsakex"
)

// hosts are those of all tests. Their keys are files, and so the same for what fuzzing has stored.
var hosts = sync.OnceValue(func() (h testHosts) {
	h.serverKey, h.serverCert = loadHost("server")
	h.clientKey, h.clientCert = loadHost("client")
	h.otherKey, h.otherCert = loadHost("other")
	return h
})

//go:embed testdata/*.pem
var testdata embed.FS

func loadHost(name string) (*rsa.PrivateKey, []byte) {
	b, err := testdata.ReadFile("testdata/" + name + ".pem")
	if err != nil {
		panic(err)
	}
	block, rest := pem.Decode(b)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	block, _ = pem.Decode(rest)
	return key, block.Bytes
}

type testHosts struct {
	serverKey, clientKey, otherKey    *rsa.PrivateKey
	serverCert, clientCert, otherCert []byte
}

// options are those of a full handshake with the test hosts.
func options(v handshake.Version, suite uint16) forge.Options {
	h := hosts()
	return forge.Options{Version: v, Suite: suite, Key: h.serverKey, Chain: [][]byte{h.serverCert}}
}

func withClient(o forge.Options) forge.Options {
	h := hosts()
	o.ClientKey, o.ClientChain = h.clientKey, [][]byte{h.clientCert}
	return o
}

func ring(t testing.TB) *rsakex.Ring {
	t.Helper()
	h := hosts()
	r := new(rsakex.Ring)
	if err := r.Add("server.pem", h.serverCert, h.serverKey); err != nil {
		t.Fatal(err)
	}
	return r
}

// watcher records events in a form that does not depend on how the bytes were cut.
type watcher struct {
	lines []string
	last  string // what could go on
	data  bytes.Buffer
	plain [2]bytes.Buffer
	log   bytes.Buffer
}

func (w *watcher) Event(e *Event) {
	kind := ""
	switch e.Kind {
	case KindData:
		kind = fmt.Sprintf("data %v clear=%v early=%v", e.Side, e.Clear, e.Early)
		w.plain[e.Side].Write(e.Data)
	case KindSecrets:
		w.log.Write(e.Data)
	}
	if kind != "" && kind == w.last {
		w.data.Write(e.Data)
		return
	}
	w.flush()
	if kind != "" {
		w.last = kind
		w.data.Write(e.Data)
		return
	}
	w.lines = append(w.lines, fmt.Sprintf("%d %v %v inj=%v lost=%d %q", e.Kind, e.Side, e.Alert, e.Injected, e.Lost, e.Data))
}

func (w *watcher) flush() {
	if w.last != "" {
		w.lines = append(w.lines, fmt.Sprintf("%s %q", w.last, w.data.Bytes()))
	}
	w.last = ""
	w.data.Reset()
}

func (w *watcher) story() string {
	w.flush()
	return strings.Join(w.lines, "\n")
}

// rig is a session with what it shows.
type rig struct {
	*Session
	watcher
	cfg *Config
}

var testStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newRig(t testing.TB, change func(*Config)) *rig {
	r := ring(t)
	cfg := &Config{Ring: r, Keys: rsakex.NewLocal(r), Store: rsakex.NewStore(100), Policy: DefaultPolicy()}
	if change != nil {
		change(cfg)
	}
	return cfg2rig(cfg)
}

func cfg2rig(cfg *Config) *rig {
	g := &rig{cfg: cfg}
	own := *cfg
	own.Handler = &g.watcher
	g.Session = New(&own, Flow{
		ID: 1, Start: testStart,
		Client: netip.MustParseAddrPort("192.0.2.1:50000"),
		Server: netip.MustParseAddrPort("198.51.100.1:443"),
	})
	return g
}

// next is a rig for another connection between the same hosts.
func (g *rig) next() *rig { return cfg2rig(g.cfg) }

// play feeds segments as they are.
func (g *rig) play(segments []forge.Segment) {
	for _, s := range segments {
		g.Feed(s.Side, testStart, s.Data)
	}
}

// feed feeds a segment, cut by the given function.
func (g *rig) feed(s forge.Segment, cut func(int) int) {
	for b := s.Data; len(b) > 0; {
		n := cut(len(b))
		g.Feed(s.Side, testStart, b[:n])
		b = b[n:]
	}
}

// finish ends the connection in order and returns its flow.
func (g *rig) finish() *Flow {
	g.CloseSide(handshake.Client, testStart)
	g.CloseSide(handshake.Server, testStart)
	return g.End(testStart)
}

func wantRead(t *testing.T, f *Flow) {
	t.Helper()
	if f.Outcome != OutcomeRead || f.Cause != CauseNone {
		t.Fatalf("outcome %v, cause %v (%s); want read", f.Outcome, f.Cause, f.Detail)
	}
}

func wantCause(t *testing.T, f *Flow, c Cause) {
	t.Helper()
	if f.Cause != c || f.Outcome == OutcomeRead {
		t.Fatalf("outcome %v, cause %v (%s); want %v", f.Outcome, f.Cause, f.Detail, c)
	}
}

func (g *rig) wantPlain(t *testing.T, side handshake.Side, want []byte) {
	t.Helper()
	if got := g.plain[side].Bytes(); !bytes.Equal(got, want) {
		t.Fatalf("plaintext of the %v: %d bytes %.80q, want %d bytes %.80q", side, len(got), got, len(want), want)
	}
}

// memory opens each premaster secret once, for tests that play one connection many times.
type memory struct {
	local *rsakex.Local
	known map[string]*rsakex.Secret
}

func remembering(c *Config) {
	c.Keys = &memory{rsakex.NewLocal(c.Ring), make(map[string]*rsakex.Secret)}
}

func (m *memory) MasterSecret(q rsakex.Request) *rsakex.Secret {
	name := fmt.Sprintf("%x %x %x", q.EncryptedPremaster, q.Client, q.SessionHash)
	if m.known[name] == nil {
		m.known[name] = m.local.MasterSecret(q)
	}
	return m.known[name]
}
