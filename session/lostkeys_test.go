// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/rsakex"
)

// withoutRecords feeds records but those that lose picks.
func (g *rig) withoutRecords(all []forge.Segment, lose func(i int) bool) {
	for i, r := range all {
		if lose(i) {
			g.Gap(r.Side, testStart, len(r.Data))
		} else {
			g.Feed(r.Side, testStart, r.Data)
		}
	}
}

// twoKeys has another key before the server's.
func twoKeys(t *testing.T) func(*Config) {
	return func(c *Config) {
		h := hosts()
		c.Ring = new(rsakex.Ring)
		if err := c.Ring.Add("other.pem", h.otherCert, h.otherKey); err != nil {
			t.Fatal(err)
		}
		if err := c.Ring.Add("server.pem", h.serverCert, h.serverKey); err != nil {
			t.Fatal(err)
		}
		c.Keys = rsakex.NewLocal(c.Ring)
	}
}

// Without the certificate each key is tried, in the first handshake and in a renegotiation.
func TestTriesKeys(t *testing.T) {
	for _, suite := range []uint16{rsaAES128GCM, rsaAES128SHA, rsaRC4SHA} {
		o := options(handshake.TLS12, suite)
		o.RecordEach = true
		c := forge.New(o)
		request, _ := exchange(c)
		first := len(records(c.Segments))
		c.Handshake(o)
		exchange(c)
		all := records(c.Segments)
		for _, lost := range [][]int{{2}, {first + 2}, {2, first + 2}, {2, 5}, {2, 7, first + 2, first + 5}} {
			g := newRig(t, twoKeys(t))
			g.withoutRecords(all, func(i int) bool {
				for _, l := range lost {
					if i == l {
						return true
					}
				}
				return false
			})
			f := g.finish()
			wantCause(t, f, PacketLoss)
			if want := bytes.Repeat(request, 2); !bytes.Equal(g.plain[0].Bytes(), want) || f.KeySource != "server.pem" {
				t.Errorf("%s, lost %v: key %q, %d of %d bytes (%s)", handshake.SuiteName(suite), lost, f.KeySource, g.plain[0].Len(), len(want), f.Detail)
			}
		}
	}
}

// With slow keys, too; and where none fits there is a cause.
func TestTriesKeysInVain(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	o.RecordEach = true
	c := forge.New(o)
	request, _ := exchange(c)
	all := records(c.Segments)
	lost := func(i int) bool { return i == 2 }

	keys := &slowKeys{}
	g := newRig(t, func(c *Config) {
		twoKeys(t)(c)
		keys.local, c.Keys = rsakex.NewLocal(c.Ring), keys
	})
	g.withoutRecords(all, lost)
	if g.Waiting() == nil {
		t.Fatal("waits for no key")
	}
	keys.answer()
	g.Resume(testStart)
	wantCause(t, g.finish(), PacketLoss)
	g.wantPlain(t, handshake.Client, request)

	o.Key, o.Chain = hosts().clientKey, [][]byte{hosts().clientCert}
	all = records(forge.New(o).Segments)
	g = newRig(t, twoKeys(t))
	g.withoutRecords(all, lost)
	wantCause(t, g.finish(), NoKeyForCertificate)
}

// What names the session may be all that is left of an abbreviated handshake.
func TestLostResumption(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	o.RecordEach, o.Ticket = true, []byte("ticket")
	full := forge.New(o)
	o.Resume, o.Ticket = full.State(true), nil
	again := forge.New(o)
	request, response := exchange(again)
	all := records(again.Segments)
	for _, lost := range []int{2, 3, 4, 5} { // ChangeCipherSpec and Finished of both
		for known := range 2 {
			g := newRig(t, nil)
			if known == 1 {
				g.play(full.Segments)
				g.finish()
			}
			g = g.next()
			g.withoutRecords(all, func(i int) bool { return i == lost })
			f := g.finish()
			if known == 0 {
				if f.Cause != PacketLoss && f.Cause != SessionUnknown {
					t.Errorf("lost %d: cause %v (%s)", lost, f.Cause, f.Detail)
				}
				continue
			}
			wantCause(t, f, PacketLoss)
			g.wantPlain(t, handshake.Client, request)
			g.wantPlain(t, handshake.Server, response)
		}
	}
}

// Compression is lost with what it refers to, and so says the cause.
func TestLostCompression(t *testing.T) {
	for _, part := range []int{0, 7} {
		o := options(handshake.TLS12, rsaAES128GCM)
		o.Deflate = true
		c := forge.New(o)
		exchange(c)
		all := records(c.Segments)
		last := len(all) - 3
		g := newRig(t, nil)
		g.withoutRecords(all[:last], func(int) bool { return false })
		r := all[last]
		g.Feed(r.Side, testStart, r.Data[:part])
		g.Gap(r.Side, testStart, len(r.Data)-part)
		g.withoutRecords(all[last+1:], func(int) bool { return false })
		f := g.finish()
		wantCause(t, f, PacketLoss)
		if f.Detail != streamLost {
			t.Errorf("%s", f.Detail)
		}
	}
}

// Nobody's hole costs more than the bound on work.
func TestHuntIsBounded(t *testing.T) {
	for _, suite := range []uint16{rsaAES128GCM, rsaRC4SHA} {
		c := forge.New(options(handshake.TLS12, suite))
		g := newRig(t, nil)
		g.play(c.Segments)
		g.Gap(handshake.Server, testStart, 1<<20)
		head := bytes.Repeat([]byte{23, 3, 3, 1, 0}, 1000)
		fed := 0
		for g.Flow().Cause == CauseNone && fed < 64<<20 {
			g.Feed(handshake.Server, testStart, head)
			fed += len(head)
		}
		f := g.finish()
		wantCause(t, f, PacketLoss)
		if fed > 1<<20 {
			t.Errorf("%d bytes were searched", fed)
		}
	}
	// Without headers there is little to do, but that has an end as well.
	c := forge.New(options(handshake.TLS12, rsaAES128GCM))
	g := newRig(t, nil)
	g.play(c.Segments)
	g.Gap(handshake.Server, testStart, 100)
	for fed := 0; g.Flow().Cause == CauseNone; fed += 1 << 16 {
		if fed > 2*huntBytes {
			t.Fatal("searches for ever")
		}
		g.Feed(handshake.Server, testStart, make([]byte, 1<<16))
	}
	wantCause(t, g.finish(), PacketLoss)
}

// A certificate asked for after the handshake is noted, if not proven.
func TestCertificateAfterwards(t *testing.T) {
	c := forge.New13(forge.Options13{Suite: 0x1301})
	der := hosts().clientCert
	n := len(der)
	body := append([]byte{0, 0, byte((n + 5) >> 8), byte(n + 5), 0, byte(n >> 8), byte(n)}, der...)
	c.Message(handshake.Server, handshake.TypeNewSessionTicket, []byte{0})
	c.Message(handshake.Client, handshake.TypeCertificate, append(body, 0, 0))
	c.Send(handshake.Client, []byte("on we go"))
	g := newRig(t, func(cfg *Config) { cfg.KeyLog = secretsOf(c) })
	g.play(c.Segments)
	f := g.finish()
	wantRead(t, f)
	g.wantPlain(t, handshake.Client, []byte("on we go"))
	if len(f.ClientChain) != 1 || f.ClientProven {
		t.Errorf("%d certificates, proven %v", len(f.ClientChain), f.ClientProven)
	}
}

// What only looks like the head of a long record does not hide the records behind it.
func TestFalseHeader(t *testing.T) {
	c := forge.New(options(handshake.TLS12, rsaAES128GCM))
	g := newRig(t, nil)
	g.play(c.Segments)
	n := len(c.Bytes(handshake.Server))
	c.Send(handshake.Server, []byte("lost"))
	c.Send(handshake.Server, []byte("read, "))
	c.Send(handshake.Server, []byte("read as well"))
	all := records([]forge.Segment{{Side: handshake.Server, Data: c.Bytes(handshake.Server)[n:]}})
	g.Gap(handshake.Server, testStart, len(all[0].Data))
	g.Feed(handshake.Server, testStart, []byte{1, 2, 23, 3, 3, 0x40, 0})
	g.Feed(handshake.Server, testStart, all[1].Data)
	g.Feed(handshake.Server, testStart, all[2].Data)
	wantCause(t, g.finish(), PacketLoss)
	g.wantPlain(t, handshake.Server, []byte("read, read as well"))
}
