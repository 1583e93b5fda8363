// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// numbered are records of one line each, with where they stand in the server's stream.
type numbered struct {
	line     []byte
	from, to int
}

func sendNumbered(c *forge.Conn, n int, r *rand.Rand) (all []numbered) {
	for i := range n {
		line := fmt.Appendf(nil, "line %04d %s\n", i, bytes.Repeat([]byte{'x'}, r.IntN(600)))
		from := len(c.Bytes(handshake.Server))
		c.Send(handshake.Server, line)
		all = append(all, numbered{line, from, len(c.Bytes(handshake.Server))})
	}
	return all
}

// A hole costs the records that it touched, and no more.
func TestLostRecords(t *testing.T) {
	for _, suite := range rsaSuites() {
		for _, v := range versions(suite) {
			stream := suite.Cipher.Params().Kind == handshake.KindStream && suite.Cipher != handshake.CipherNULL
			chained := suite.Cipher.Params().BlockLen > 0 && v <= handshake.TLS10
			t.Run(fmt.Sprintf("%s/%v", suite.Name, v), func(t *testing.T) {
				for seed := range uint64(4) {
					lostRecords(t, options(v, suite.ID), seed, stream, chained)
				}
			})
		}
	}
}

func lostRecords(t *testing.T, o forge.Options, seed uint64, stream, chained bool) {
	r := rand.New(rand.NewPCG(seed, 3))
	c := forge.New(o)
	lines := sendNumbered(c, 40, r)
	begin := lines[5].from + r.IntN(lines[20].from-lines[5].from)
	end := begin + 1 + r.IntN(3000)
	if stream {
		// A stream cipher can be followed over a hole within one record.
		begin = lines[5].from + 6
		end = begin + 1 + r.IntN(lines[5].to-begin)
	}
	g := newRig(t, nil)
	g.feedWithHole(c, begin, end)
	f := g.finish()
	wantCause(t, f, PacketLoss)
	if f.Gaps[handshake.Server] == 0 || f.Outcome != OutcomePartial {
		t.Fatalf("outcome %v, gaps %v", f.Outcome, f.Gaps)
	}
	got := g.plain[handshake.Server].Bytes()
	after := false
	for i, l := range lines {
		touched := l.to > begin && l.from < end
		spare := chained && after && !touched
		after = touched
		if want := !touched && !spare; want != bytes.Contains(got, l.line) && want {
			t.Fatalf("seed %d: line %d (%d-%d) was not read; hole %d-%d; cause %v %s", seed, i, l.from, l.to, begin, end, f.Cause, f.Detail)
		}
		if touched && bytes.Contains(got, l.line) {
			t.Fatalf("line %d was read through a hole", i)
		}
	}
}

// feedWithHole feeds a connection whose server speaks last, without the bytes of the hole.
func (g *rig) feedWithHole(c *forge.Conn, begin, end int) {
	all, fed := c.Bytes(handshake.Server), 0
	for _, s := range c.Segments {
		b := s.Data
		if s.Side == handshake.Server {
			b = b[:min(len(b), begin-fed)]
			fed += len(b)
		}
		g.Feed(s.Side, testStart, b)
	}
	g.Gap(handshake.Server, testStart, end-begin)
	for b := all[end:]; len(b) > 0; {
		n := min(len(b), 1460)
		g.Feed(handshake.Server, testStart, b[:n])
		b = b[n:]
	}
}

// What is lost of the handshake costs no more than it must.
func TestLostHandshake(t *testing.T) {
	o := withClient(options(handshake.TLS12, rsaAES128GCM))
	o.RecordEach = true
	c := forge.New(o)
	request, response := exchange(c)
	certificate := bytes.Index(c.Bytes(handshake.Server), hosts().serverCert)
	g := newRig(t, nil)
	for _, s := range c.Segments {
		b := s.Data
		if s.Side == handshake.Server && certificate > 0 && len(b) > certificate {
			g.Feed(s.Side, testStart, b[:certificate])
			g.Gap(s.Side, testStart, 200)
			b = b[certificate+200:]
			certificate = 0
		}
		g.Feed(s.Side, testStart, b)
	}
	f := g.finish()
	wantCause(t, f, PacketLoss)
	g.wantPlain(t, handshake.Client, request)
	g.wantPlain(t, handshake.Server, response)
}
