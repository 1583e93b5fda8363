// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/keylog"
)

const (
	rsaAES128SHA    = 0x002f
	rsaAES256SHA    = 0x0035
	rsaAES128SHA256 = 0x003c
	rsaAES128GCM    = 0x009c
	rsaRC4SHA       = 0x0005
)

// exchange sends a request and a response and closes.
func exchange(c *forge.Conn) (request, response []byte) {
	request = []byte("GET / HTTP/1.1\r\nHost: forge.example\r\n\r\n")
	response = bytes.Repeat([]byte("REC 0123456789\n"), 3000)
	c.Send(handshake.Client, request)
	c.Send(handshake.Server, response)
	c.Alert(handshake.Client, handshake.Alert{Level: 1})
	c.Alert(handshake.Server, handshake.Alert{Level: 1})
	return request, response
}

// versions are those in which a suite can be used.
func versions(s *handshake.Suite) []handshake.Version {
	if s.MAC == handshake.MACNULL || s.MAC == handshake.MACSHA256 || s.MAC == handshake.MACSHA384 {
		return []handshake.Version{handshake.TLS12}
	}
	if s.Export {
		return []handshake.Version{handshake.SSL30, handshake.TLS10}
	}
	return []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS11, handshake.TLS12}
}

// rsaSuites are the suites that the private key opens.
func rsaSuites() (all []*handshake.Suite) {
	for id := range 0x10000 {
		s, ok := handshake.SuiteByID(uint16(id))
		if ok && s.Cipher != handshake.CipherUnknown &&
			(s.KeyExchange == handshake.KeyExchangeRSA || s.KeyExchange == handshake.KeyExchangeRSAExport) {
			all = append(all, s)
		}
	}
	return all
}

func TestEverySuite(t *testing.T) {
	for _, suite := range rsaSuites() {
		for _, v := range versions(suite) {
			for mix := range 8 {
				o := withClient(options(v, suite.ID))
				o.EMS, o.EtM, o.Deflate = mix&1 != 0, mix&2 != 0, mix&4 != 0
				if v == handshake.SSL30 && (o.EMS || o.EtM) || o.EtM && suite.Cipher.Params().BlockLen == 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%v/ems=%v,etm=%v,deflate=%v", suite.Name, v, o.EMS, o.EtM, o.Deflate), func(t *testing.T) {
					readsSuite(t, o)
				})
			}
		}
	}
}

func readsSuite(t *testing.T, o forge.Options) {
	c := forge.New(o)
	request, response := exchange(c)
	g := newRig(t, nil)
	g.play(c.Segments)
	f := g.finish()
	wantRead(t, f)
	g.wantPlain(t, handshake.Client, request)
	g.wantPlain(t, handshake.Server, response)
	if f.Version != o.Version || f.Suite != o.Suite || f.EMS != o.EMS || f.EtM != o.EtM || f.Compressed != o.Deflate {
		t.Errorf("flow says %+v", f)
	}
	if !f.ClientProven {
		t.Error("the client's proof was not accepted")
	}
	if want := string(keylog.FormatClientRandom(c.Random, c.Master)); g.log.String() != want {
		t.Errorf("key log %q, want %q", g.log.String(), want)
	}
}

func TestAnyChunking(t *testing.T) {
	conns := map[string]*forge.Conn{}
	for _, id := range []uint16{rsaAES128SHA, rsaAES128GCM, rsaRC4SHA} {
		c := forge.New(withClient(options(handshake.TLS12, id)))
		exchange(c)
		c.Handshake(withClient(options(handshake.TLS12, rsaAES256SHA)))
		exchange(c)
		conns[handshake.SuiteName(id)] = c
	}
	late := &forge.Conn{}
	late.Raw(handshake.Server, []byte("220 mail.example ESMTP\r\n"))
	late.Raw(handshake.Client, []byte("STARTTLS \x16\x03\x01\r\n"))
	late.Raw(handshake.Server, []byte("220 go ahead\r\n"))
	late.Handshake(options(handshake.TLS12, rsaAES128GCM))
	exchange(late)
	conns["late"] = late
	plain := &forge.Conn{}
	plain.Raw(handshake.Client, []byte("GET / HTTP/1.0\r\n\r\n\x16\x03"))
	plain.Raw(handshake.Server, bytes.Repeat([]byte("x\x16"), 40000))
	conns["plain"] = plain

	for name, c := range conns {
		for _, inline := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/inline=%v", name, inline), func(t *testing.T) {
				anyChunking(t, c.Segments, inline)
			})
		}
	}
}

func anyChunking(t *testing.T, segments []forge.Segment, inline bool) {
	play := func(cut func(n int) int) string {
		g := newRig(t, func(c *Config) { c.Inline = inline })
		for _, s := range segments {
			for b := s.Data; len(b) > 0; {
				n := cut(len(b))
				given := bytes.Clone(b[:n])
				g.Feed(s.Side, testStart, given)
				if !bytes.Equal(given, b[:n]) {
					t.Fatal("Feed changed what it was given")
				}
				b = b[n:]
			}
		}
		g.finish()
		return g.story()
	}
	want := play(func(n int) int { return n })
	if got := play(func(int) int { return 1 }); got != want {
		t.Fatalf("one byte at a time:\n%s\nall at once:\n%s", abridged(got), abridged(want))
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		if got := play(func(n int) int { return min(n, 1+r.IntN(1+r.IntN(20000))) }); got != want {
			t.Fatalf("seed %d:\n%s\nall at once:\n%s", seed, abridged(got), abridged(want))
		}
	}
}

func abridged(story string) string {
	lines := strings.Split(story, "\n")
	for i, l := range lines {
		lines[i] = fmt.Sprintf("%.150s", l)
	}
	return strings.Join(lines, "\n")
}

func TestResumption(t *testing.T) {
	for _, byTicket := range []bool{false, true} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("ticket=%v,known=%v", byTicket, known), func(t *testing.T) {
				o := withClient(options(handshake.TLS12, rsaAES128GCM))
				o.EMS = true
				if byTicket {
					o.Ticket = []byte("a ticket that only its server understands")
				} else {
					o.SessionID = bytes.Repeat([]byte{7}, 32)
				}
				full := forge.New(o)
				exchange(full)
				g := newRig(t, nil)
				if known {
					g.play(full.Segments)
					wantRead(t, g.finish())
				}
				o.Resume = full.State(byTicket)
				o.Ticket = nil
				again := forge.New(o)
				request, _ := exchange(again)
				g = g.next()
				g.play(again.Segments)
				f := g.finish()
				if !known {
					wantCause(t, f, SessionUnknown)
					return
				}
				wantRead(t, f)
				g.wantPlain(t, handshake.Client, request)
				if want := map[bool]Resumption{false: ResumedID, true: ResumedTicket}[byTicket]; f.Resumed != want {
					t.Errorf("resumed %v, want %v", f.Resumed, want)
				}
				if !f.ClientProven || len(f.ClientChain) != 1 {
					t.Error("a resumed session does not say who its client is")
				}
			})
		}
	}
}

func TestRenewedTicket(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128SHA256)
	o.Ticket = []byte("the first ticket")
	conn := forge.New(o)
	g := newRig(t, nil)
	for i := range 3 {
		g = g.next()
		exchange(conn)
		g.play(conn.Segments)
		wantRead(t, g.finish())
		o.Resume = conn.State(true)
		o.Ticket = fmt.Appendf(nil, "renewed ticket %d", i)
		conn = forge.New(o)
	}
}

func TestV2Hello(t *testing.T) {
	for _, v := range []handshake.Version{handshake.SSL30, handshake.TLS10} {
		o := options(v, rsaAES256SHA)
		o.V2Hello = true
		c := forge.New(o)
		request, _ := exchange(c)
		g := newRig(t, nil)
		g.play(c.Segments)
		wantRead(t, g.finish())
		g.wantPlain(t, handshake.Client, request)
	}
}
