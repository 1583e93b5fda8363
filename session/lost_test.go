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

// records cuts what both sides sent into records, in their order.
func records(segments []forge.Segment) (all []forge.Segment) {
	for _, s := range segments {
		for b := s.Data; len(b) > 0; {
			n := handshake.RecordHeaderLen + int(b[3])<<8 + int(b[4])
			all = append(all, forge.Segment{Side: s.Side, Data: b[:n]})
			b = b[n:]
		}
	}
	return all
}

func TestLoseRecords(t *testing.T) {
	for _, suite := range []uint16{rsaAES128GCM, rsaAES128SHA, rsaRC4SHA} {
		for _, v := range []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS12} {
			if suite == rsaAES128GCM && v != handshake.TLS12 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%v", handshake.SuiteName(suite), v), func(t *testing.T) {
				for n := 1; n < 4; n++ {
					loseRecords(t, withClient(options(v, suite)), n)
				}
			})
		}
	}
}

// loseRecords loses n records at each place, from their first byte on, from their second or later, or
// all but the last byte.
func loseRecords(t *testing.T, o forge.Options, n int) {
	o.RecordEach = true
	chained := o.Suite == rsaAES128SHA && o.Version <= handshake.TLS10
	c := forge.New(o)
	all := records(c.Segments)
	handshakes := len(all)
	for i := range 5 {
		c.Send(handshake.Client, fmt.Appendf(nil, "question %d", i))
		c.Send(handshake.Server, fmt.Appendf(nil, "answer %d", i))
	}
	all = records(c.Segments)
	g := newRig(t, remembering)
	for i := 2; i+n <= len(all); i++ { // not the hellos
		for _, from := range []int{0, 1 + 2*(i%2), 5} {
			g = g.next()
			for k, r := range all {
				switch {
				case k < i || k >= i+n:
					g.Feed(r.Side, testStart, r.Data)
				case from < 5:
					g.Feed(r.Side, testStart, r.Data[:from])
					g.Gap(r.Side, testStart, len(r.Data)-from)
				default:
					g.Gap(r.Side, testStart, len(r.Data)-1)
					g.Feed(r.Side, testStart, r.Data[len(r.Data)-1:])
				}
			}
			f := g.finish()
			wantCause(t, f, PacketLoss)
			if i <= 6 && i+n > 6 {
				continue // the ClientKeyExchange
			}
			for k, r := range all[handshakes:] {
				line := fmt.Appendf(nil, "question %d", k/2)
				if r.Side == handshake.Server {
					line = fmt.Appendf(nil, "answer %d", k/2)
				}
				k += handshakes
				lost := k >= i && k < i+n || chained && all[before(all, k)].Side == r.Side && before(all, k) >= i && before(all, k) < i+n
				if !lost && !bytes.Contains(g.plain[r.Side].Bytes(), line) {
					t.Fatalf("lost %d to %d, from byte %d: %q was not read (%v %s)", i, i+n-1, from, line, f.Cause, f.Detail)
				}
			}
		}
	}
}

// before returns the record of the same side before a record.
func before(all []forge.Segment, k int) int {
	for i := k - 1; i > 0; i-- {
		if all[i].Side == all[k].Side {
			return i
		}
	}
	return 0
}
