// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/internal/race"
	"github.com/sightglass/sightglass/rsakex"
)

// nothing takes events and keeps none.
type nothing struct{ bytes int }

func (n *nothing) Event(e *Event) { n.bytes += len(e.Data) }

// bulk returns an established session and a megabyte of the server's records.
func bulk(t testing.TB, suite uint16, h Handler) (*Session, []byte) {
	o := options(handshake.TLS12, suite)
	c := forge.New(o)
	g := newRig(t, nil)
	cfg := *g.cfg
	cfg.Handler = h
	s := New(&cfg, Flow{ID: 1})
	for _, seg := range c.Segments {
		s.Feed(seg.Side, testStart, seg.Data)
	}
	before := len(c.Bytes(handshake.Server))
	c.Send(handshake.Server, make([]byte, 1<<20))
	return s, c.Bytes(handshake.Server)[before:]
}

// The data path allocates nothing a record, whole or in pieces.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("pools drop at random under the race detector")
	}
	for _, suite := range []uint16{rsaAES128SHA, rsaAES128SHA256, rsaAES128GCM} {
		s, b := bulk(t, suite, &nothing{})
		record := handshake.RecordHeaderLen + int(b[3])<<8 + int(b[4])
		i := 0
		allocations := testing.AllocsPerRun(20, func() {
			s.Feed(handshake.Server, testStart, b[i*record:i*record+1000])
			s.Feed(handshake.Server, testStart, b[i*record+1000:(i+1)*record])
			i++
		})
		// A pool may be emptied by the collector at any time; a record must not cost one each.
		if allocations > 0.5 {
			t.Errorf("%s: %v allocations a record", handshake.SuiteName(suite), allocations)
		}
		if s.Flow().Cause != CauseNone || s.Flow().Records[handshake.Server] < 20 {
			t.Errorf("%s: %+v", handshake.SuiteName(suite), s.Flow())
		}
	}
}

func BenchmarkFeed(b *testing.B) {
	for _, suite := range []uint16{rsaAES128SHA, rsaAES256SHA, rsaAES128SHA256, rsaAES128GCM} {
		for _, chunk := range []int{1460, 256 << 10} {
			b.Run(fmt.Sprintf("%s/%d", handshake.SuiteName(suite), chunk), func(b *testing.B) {
				b.ReportAllocs()
				h := &nothing{}
				for b.Loop() {
					b.StopTimer()
					s, data := bulk(b, suite, h)
					b.SetBytes(int64(len(data)))
					b.StartTimer()
					for len(data) > 0 {
						n := min(chunk, len(data))
						s.Feed(handshake.Server, testStart, data[:n])
						data = data[n:]
					}
				}
			})
		}
	}
}

// known has the secret of one handshake.
type known struct{ *rsakex.Secret }

func (k known) MasterSecret(rsakex.Request) *rsakex.Secret { return k.Secret }

// BenchmarkHandshake is what the engine takes of an inline connection that is judged, read and closed, but for the private operation.
func BenchmarkHandshake(b *testing.B) {
	o := options(handshake.TLS12, rsaAES128GCM)
	o.SessionID = []byte{1}
	full := forge.New(o)
	o.Resume = full.State(false)
	cfg := *newRig(b, nil).cfg
	cfg.Inline, cfg.Handler, cfg.Keys = true, &nothing{}, known{rsakex.Resolved(full.Master)}
	connect := func(b *testing.B, c *forge.Conn) {
		s := New(&cfg, Flow{ID: 1})
		for _, seg := range c.Segments {
			s.Feed(seg.Side, testStart, seg.Data)
		}
		if f := s.End(testStart); f.Outcome != OutcomeRead {
			b.Fatalf("%+v", f)
		}
	}
	connect(b, full) // what the other resumes
	for _, part := range []struct {
		name string
		conn *forge.Conn
	}{{"full", full}, {"resumed", forge.New(o)}} {
		b.Run(part.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				connect(b, part.conn)
			}
		})
	}
}
