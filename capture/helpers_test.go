// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

const (
	suiteCBC = 0x002f // TLS_RSA_WITH_AES_128_CBC_SHA
	suiteGCM = 0x009c // TLS_RSA_WITH_AES_128_GCM_SHA256
)

// server is the one server of all tests: keys are slow to make.
var server = sync.OnceValues(func() (*rsa.PrivateKey, []byte) { return forge.Certificate("server.example", 1024) })

// client is the one client with a certificate.
var client = sync.OnceValues(func() (*rsa.PrivateKey, []byte) { return forge.Certificate("client.example", 1024) })

func forgeOptions(suite uint16) forge.Options {
	key, cert := server()
	return forge.Options{Version: handshake.TLS12, Suite: suite, Key: key, Chain: [][]byte{cert}}
}

// talk makes a connection in which the client asks and the server answers with size bytes.
func talk(o forge.Options, size int) *forge.Conn {
	c := forge.New(o)
	c.Send(handshake.Client, []byte("GET / HTTP/1.1\r\n\r\n"))
	c.Send(handshake.Server, numbered(size))
	return c
}

func numbered(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.Bytes()[:size]
}

// story keeps the events of a run.
type story struct {
	lines []string
	plain map[uint64]*[2]bytes.Buffer // by flow
	flows []session.Flow              // at their ends
	keys  bytes.Buffer
	last  time.Time
	open  map[*session.Flow]uint64
	late  bool // events may be shown later than others of a later time
	t     testing.TB
}

func newStory(t testing.TB) *story {
	return &story{t: t, plain: make(map[uint64]*[2]bytes.Buffer), open: make(map[*session.Flow]uint64)}
}

func (s *story) Event(e *session.Event) {
	f := e.Flow
	if e.Kind == session.KindOpen {
		s.open[f] = f.ID
	}
	if s.open[f] != f.ID {
		s.t.Errorf("flow %d has another value at %d", f.ID, e.Kind)
	}
	if e.Time.Before(s.last) && !s.late {
		s.t.Errorf("time goes back from %v to %v", s.last, e.Time)
	}
	s.last = e.Time
	s.lines = append(s.lines, fmt.Sprintf("%d %d %v %v lost=%d %v %v %d:%x read=%v %v records=%v bytes=%v gaps=%v",
		f.ID, e.Kind, e.Side, e.Time.UnixNano(), e.Lost, e.Alert, e.Clear, len(e.Data), crc32.ChecksumIEEE(e.Data),
		f.Outcome, f.Cause, f.Records, f.Bytes, f.Gaps))
	switch e.Kind {
	case session.KindData:
		if s.plain[f.ID] == nil {
			s.plain[f.ID] = new([2]bytes.Buffer)
		}
		s.plain[f.ID][e.Side].Write(e.Data)
	case session.KindSecrets:
		s.keys.Write(e.Data)
	case session.KindEnd:
		s.flows = append(s.flows, *f)
		delete(s.open, f)
	}
}

// said returns what a flow's side said.
func (s *story) said(id uint64, side handshake.Side) string {
	if s.plain[id] == nil {
		return ""
	}
	return s.plain[id][side].String()
}

func (s *story) flow(id uint64) session.Flow {
	for _, f := range s.flows {
		if f.ID == id {
			return f
		}
	}
	return session.Flow{}
}

// config returns what reads the test server's flows.
func config(t testing.TB, h session.Handler) *session.Config {
	t.Helper()
	key, cert := server()
	ring := new(rsakex.Ring)
	if err := ring.Add("server.pem", cert, key); err != nil {
		t.Fatal(err)
	}
	return &session.Config{Ring: ring, Keys: rsakex.NewLocal(ring), Store: rsakex.NewStore(0), Handler: h}
}

// decrypt reads a capture with the test server's key.
func decrypt(t testing.TB, o Options, files ...string) (*story, Stats) {
	t.Helper()
	s, stats, err := tryDecrypt(t, o, files...)
	if err != nil {
		t.Fatal(err)
	}
	return s, stats
}

func tryDecrypt(t testing.TB, o Options, files ...string) (*story, Stats, error) {
	t.Helper()
	s := newStory(t)
	s.late = o.Select.late()
	if o.Session == nil {
		o.Session = config(t, s)
	} else {
		cfg := *o.Session
		cfg.Handler = s
		o.Session = &cfg
	}
	o.Files = files
	stats, err := Decrypt(context.Background(), o)
	if n := len(s.open); n > 0 {
		t.Errorf("%d flows have no end", n)
	}
	return s, stats, err
}

// pcapOf writes packets to a file.
func pcapOf(t testing.TB, packets []packet) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture.pcap")
	if err := os.WriteFile(path, pcapBytes(packets), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pcapBytes(packets []packet) []byte {
	var b bytes.Buffer
	w := newPcapWriter(&b, linkRaw)
	w.packets(packets)
	w.w.Flush()
	return b.Bytes()
}

// interleave mixes flows as they would cross a wire: each begins a little after the one before.
func interleave(rng *rand.Rand, wires []*wire, apart time.Duration) []packet {
	var all []packet
	for i, w := range wires {
		shift := time.Duration(i) * apart
		for _, p := range w.out {
			p.time = p.time.Add(shift + time.Duration(rng.IntN(5))*time.Microsecond)
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b packet) int { return a.time.Compare(b.time) })
	return all
}

func sameLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s: event %d\n got %s\nwant %s", what, i, got[i], want[i])
			return
		}
	}
	t.Errorf("%s: %d events, want %d", what, len(got), len(want))
}

func hosts(i int) (string, string) {
	return fmt.Sprintf("10.0.%d.%d:%d", i/200, i%200+1, 40000+i), "10.9.9.9:443"
}
