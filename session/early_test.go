// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/keylog"
)

// secretsOf is a key log of a connection, without some of its lines.
func secretsOf(c *forge.Conn13, but ...keylog.Label) *keylog.Secrets {
	s := keylog.NewSecrets(0)
	for label, secret := range c.Secrets {
		s.Add(keylog.Line{Label: keylog.Label(label), ID: c.Random[:], Secret: secret})
	}
	log := keylog.NewSecrets(0)
	for label := range c.Secrets {
		l := keylog.Label(label)
		if secret, ok := s.Lookup(l, c.Random[:]); ok && !contains(but, l) {
			log.Add(keylog.Line{Label: l, ID: c.Random[:], Secret: secret})
		}
	}
	return log
}

func contains(all []keylog.Label, l keylog.Label) bool {
	for _, x := range all {
		if x == l {
			return true
		}
	}
	return false
}

func TestEarlyData(t *testing.T) {
	early := [][]byte{[]byte("early 1, "), []byte("early 2, "), []byte("early 3, ")}
	for _, suite := range []uint16{0x1301, 0x1302, 0x1303} {
		for mix := range 32 {
			accept, retry, ccs, known := mix&1 != 0, mix&2 != 0, mix&4 != 0, mix&8 != 0
			before := 1 + 2*(mix>>4)
			if retry && (accept || before < 3) {
				continue // a HelloRetryRequest refuses it, and ends it
			}
			t.Run(fmt.Sprintf("%s/accept=%v,retry=%v,ccs=%v,known=%v,before=%d", handshake.SuiteName(suite), accept, retry, ccs, known, before), func(t *testing.T) {
				c := forge.New13(forge.Options13{Suite: suite, Early: early, Before: before, Accept: accept, Retry: retry, CCS: ccs})
				c.Send(handshake.Client, []byte("question"))
				c.Send(handshake.Server, []byte("answer"))
				log := secretsOf(c)
				want := "early 1, early 2, early 3, question"
				if !known {
					log, want = secretsOf(c, keylog.ClientEarlyTraffic), "question"
				}
				readsEarly(t, c, log, want, accept && !known)
			})
		}
	}
}

func readsEarly(t *testing.T, c *forge.Conn13, log keylog.Source, want string, missed bool) {
	for _, n := range []int{1 << 20, 1, 7} {
		for _, inline := range []bool{false, true} {
			b := newBox(t, func(c *Config) {
				c.KeyLog, c.Inline = log, inline
				c.Policy[TLS13] = ActionForward
			})
			b.play(c.Segments, func(all int) int { return min(all, n) })
			f := b.finish()
			b.wantPlain(t, handshake.Client, []byte(want))
			b.wantPlain(t, handshake.Server, []byte("answer"))
			if f.Handshakes != 1 {
				t.Fatalf("%d handshakes", f.Handshakes)
			}
			if !missed {
				wantRead(t, f)
				continue
			}
			if f.Cause != TLS13 || f.Outcome != OutcomePartial {
				t.Fatalf("outcome %v, cause %v", f.Outcome, f.Cause)
			}
		}
	}
}

func TestKeyUpdate(t *testing.T) {
	c := forge.New13(forge.Options13{Suite: 0x1301})
	var want [2]bytes.Buffer
	for i := range 4 {
		for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
			line := fmt.Appendf(nil, "line %d, ", i)
			c.Send(side, line)
			want[side].Write(line)
			if i%2 == int(side) {
				c.Update(side)
			}
		}
	}
	g := newRig(t, func(cfg *Config) { cfg.KeyLog = secretsOf(c) })
	g.play(c.Segments)
	wantRead(t, g.finish())
	for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
		g.wantPlain(t, side, want[side].Bytes())
	}
}

// A KeyUpdate in a hole costs no more than itself.
func TestLostKeyUpdate(t *testing.T) {
	c := forge.New13(forge.Options13{Suite: 0x1301})
	c.Send(handshake.Server, []byte("before"))
	n := len(c.Segments[len(c.Segments)-1].Data)
	c.Update(handshake.Server)
	last := c.Segments[len(c.Segments)-1]
	update := len(last.Data) - n
	c.Send(handshake.Server, []byte("after"))
	last = c.Segments[len(c.Segments)-1]
	g := newRig(t, func(cfg *Config) { cfg.KeyLog = secretsOf(c) })
	g.play(c.Segments[:len(c.Segments)-1])
	g.Feed(handshake.Server, testStart, last.Data[:n])
	g.Gap(handshake.Server, testStart, update)
	g.Feed(handshake.Server, testStart, last.Data[n+update:])
	wantCause(t, g.finish(), PacketLoss)
	g.wantPlain(t, handshake.Server, []byte("beforeafter"))
}

// What a key log does not have ends the reading with its cause, also when it may still grow.
func TestMissingSecrets(t *testing.T) {
	c := forge.New13(forge.Options13{Suite: 0x1302})
	c.Send(handshake.Client, []byte("question"))
	c.Send(handshake.Server, []byte("answer"))
	for _, label := range []keylog.Label{
		keylog.ClientHandshakeTraffic, keylog.ServerHandshakeTraffic, keylog.ClientTraffic, keylog.ServerTraffic,
	} {
		for _, grows := range []bool{false, true} {
			g := newRig(t, func(cfg *Config) { cfg.KeyLog, cfg.KeyLogGrows = secretsOf(c, label), grows })
			g.play(c.Segments)
			wantCause(t, g.finish(), TLS13)
			g = newRig(t, func(cfg *Config) {
				cfg.KeyLog, cfg.KeyLogGrows, cfg.MaxBacklog = secretsOf(c, label), grows, 16
			})
			g.play(c.Segments)
			wantCause(t, g.finish(), TLS13)
		}
	}
}
