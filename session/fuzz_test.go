// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/rsakex"
)

// script codes segments as bytes: a byte for the side, two for the length, the data.
func script(segments []forge.Segment) (b []byte) {
	for _, s := range segments {
		for data := s.Data; len(data) > 0; {
			n := min(len(data), 0xffff)
			b = append(b, byte(s.Side))
			b = binary.BigEndian.AppendUint16(b, uint16(n))
			b = append(b, data[:n]...)
			data = data[n:]
		}
	}
	return b
}

func unscript(b []byte) (segments []forge.Segment) {
	for len(b) >= 3 {
		n := min(int(binary.BigEndian.Uint16(b[1:])), len(b)-3)
		segments = append(segments, forge.Segment{Side: handshake.Side(b[0] & 1), Data: b[3 : 3+n]})
		b = b[3+n:]
	}
	return segments
}

func seeds(f *testing.F) {
	for _, id := range []uint16{rsaAES128SHA, rsaAES128GCM, rsaRC4SHA} {
		o := withClient(options(handshake.TLS12, id))
		o.EMS, o.Ticket, o.RecordEach = true, []byte("ticket"), true
		c := forge.New(o)
		c.Send(handshake.Client, []byte("question"))
		c.HelloRequest()
		c.Handshake(o)
		c.Send(handshake.Server, []byte("answer"))
		f.Add(script(c.Segments), uint32(0), byte(0))
		f.Add(script(c.Segments), uint32(300), byte(1))
		o.V2Hello, o.EMS, o.Version, o.Ticket = true, false, handshake.SSL30, nil
		resumed := options(handshake.TLS12, id)
		resumed.Resume, resumed.Ticket = c.State(true), []byte("a new one")
		again := forge.New(resumed)
		again.Send(handshake.Server, []byte("answer"))
		f.Add(script(again.Segments), uint32(1<<20), byte(0x40))
		if id != rsaAES128GCM {
			f.Add(script(forge.New(o).Segments), uint32(90), byte(2))
		}
	}
	f.Add(script([]forge.Segment{{Side: 0, Data: []byte("GET / HTTP/1.0\r\n\r\n")}, {Side: 1, Data: []byte("\x16\x03\x01")}}), uint32(1), byte(3))
}

// FuzzRelay mutates connections and relays them. Whatever comes: what is relayed is a prefix of what
// came, a verdict only moves on, nothing of an unjudged flight gets through, a flow that was not read
// says why.
func FuzzRelay(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte, at uint32, flip byte) {
		if len(data) > 1<<17 {
			return
		}
		data = bytes.Clone(data)
		if len(data) > 0 {
			data[int(at)%len(data)] ^= flip
		}
		segments := unscript(data)
		for _, cut := range []func(int) int{whole, func(n int) int { return min(n, 7) }} {
			b := newBox(t, nil)
			through := b.play(segments, cut)
			checkRelay(t, b, segments, through)
			flow := b.finish()
			if (flow.Cause == CauseNone) != (flow.Outcome == OutcomeRead) {
				t.Fatalf("outcome %v with cause %v", flow.Outcome, flow.Cause)
			}
		}
	})
}

func checkRelay(t *testing.T, b *box, segments []forge.Segment, through bool) {
	monotonic(t, b.verdicts)
	all := forge.Conn{Segments: segments}
	for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
		sent := b.sent[side].Bytes()
		if !bytes.HasPrefix(all.Bytes(side), sent) {
			t.Fatalf("the %v's bytes were changed", side)
		}
		if b.Held(side) < 0 || b.Held(side) > len(all.Bytes(side)) {
			t.Fatalf("holds %d of %d bytes", b.Held(side), len(all.Bytes(side)))
		}
		if through && b.Verdict() == Bypass && len(sent) != len(all.Bytes(side)) {
			t.Fatalf("bypassed, but only %d of %d bytes relayed", len(sent), len(all.Bytes(side)))
		}
	}
}

// FuzzWatch does the same to a watching engine, with holes, and compares two ways of cutting.
func FuzzWatch(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte, at uint32, flip byte) {
		if len(data) > 1<<17 {
			return
		}
		data = bytes.Clone(data)
		if len(data) > 0 {
			data[int(at)%len(data)] ^= flip
		}
		segments := unscript(data)
		var stories [2]string
		for i, cut := range []func(int) int{whole, func(n int) int { return min(n, 5) }} {
			g := newRig(t, func(c *Config) {
				if flip&0x40 != 0 {
					never, _ := rsakex.NewSecret()
					c.LateSessions = func() *rsakex.Secret { return never }
					c.MaxBacklog = 1 << 10
				}
			})
			for k, s := range segments {
				if flip&0x80 != 0 && k == int(at)%len(segments) {
					g.Gap(s.Side, testStart, len(s.Data)+1)
					continue
				}
				g.feed(s, cut)
			}
			flow := g.finish()
			if (flow.Cause == CauseNone) != (flow.Outcome == OutcomeRead) {
				t.Fatalf("outcome %v with cause %v", flow.Outcome, flow.Cause)
			}
			stories[i] = g.story()
		}
		if flip&0x80 == 0 && stories[0] != stories[1] {
			t.Fatalf("all at once:\n%s\nin pieces:\n%s", abridged(stories[0]), abridged(stories[1]))
		}
	})
}
