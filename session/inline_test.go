// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/rsakex"
)

// box is the simplest relay: what it sent to each side, by the side it came from.
type box struct {
	*rig
	t        testing.TB
	sent     [2]bytes.Buffer // relayed, by sender
	held     [2][]byte
	verdicts []Verdict
	injected [2][]byte // by receiver
}

func newBox(t testing.TB, change func(*Config)) *box {
	return &box{t: t, rig: newRig(t, func(c *Config) {
		c.Inline = true
		if change != nil {
			change(c)
		}
	})}
}

// relay takes the next bytes of a side. It returns false when the flow was refused.
func (b *box) relay(side handshake.Side, data []byte) bool {
	if b.Verdict() == Refuse {
		return false
	}
	ahead := 0
	if len(b.held[side]) == 0 {
		ahead = b.Ahead(side, data)
		b.sent[side].Write(data[:ahead])
	}
	b.held[side] = append(b.held[side], data[ahead:]...)
	b.feed(side, data)
	if n := b.Held(side); n > len(b.held[side]) && b.Verdict() != Refuse {
		b.t.Fatalf("holds %d bytes of the %v, of which only %d were not relayed ahead", n, side, len(b.held[side]))
	}
	b.release()
	return b.refused()
}

func (b *box) feed(side handshake.Side, data []byte) {
	b.Feed(side, testStart, data)
	b.verdicts = append(b.verdicts, b.Verdict())
}

func (b *box) release() {
	for side := range b.held {
		n := max(0, len(b.held[side])-b.Held(handshake.Side(side)))
		b.sent[side].Write(b.held[side][:n])
		b.held[side] = b.held[side][n:]
	}
}

func (b *box) refused() bool {
	r := b.Refusal()
	if r == nil {
		return true
	}
	b.injected = [2][]byte{r.ToClient, r.ToServer}
	return false
}

// play relays segments, cut by the given function, and reports whether all went through.
func (b *box) play(segments []forge.Segment, cut func(int) int) bool {
	for _, s := range segments {
		for data := s.Data; len(data) > 0; {
			n := cut(len(data))
			if !b.relay(s.Side, data[:n]) {
				return false
			}
			data = data[n:]
		}
	}
	return true
}

func whole(n int) int { return n }

func TestRelaysByteForByte(t *testing.T) {
	c := forge.New(withClient(options(handshake.TLS12, rsaAES128GCM)))
	request, response := exchange(c)
	c.Handshake(withClient(options(handshake.TLS12, rsaAES128SHA)))
	exchange(c)
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 2))
		cut := func(n int) int { return min(n, 1+r.IntN(1+r.IntN(5000))) }
		if seed == 0 {
			cut = whole
		}
		b := newBox(t, nil)
		if !b.play(c.Segments, cut) {
			t.Fatalf("seed %d: refused: %+v", seed, b.Flow())
		}
		for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
			if !bytes.Equal(b.sent[side].Bytes(), c.Bytes(side)) {
				t.Fatalf("seed %d: the %v's bytes were changed", seed, side)
			}
		}
		wantRead(t, b.finish())
		b.wantPlain(t, handshake.Client, append(append([]byte(nil), request...), request...))
		b.wantPlain(t, handshake.Server, append(append([]byte(nil), response...), response...))
		monotonic(t, b.verdicts)
	}
}

func monotonic(t *testing.T, verdicts []Verdict) {
	t.Helper()
	last := Undecided
	for _, v := range verdicts {
		if v != last && (last == Bypass || last == Refuse || v == Undecided) {
			t.Fatalf("the verdict went from %v to %v", last, v)
		}
		last = v
	}
}

func TestRefused(t *testing.T) {
	other := hosts()
	for _, test := range []struct {
		name  string
		cause Cause
		o     func(*forge.Options)
		cfg   func(*Config)
	}{
		{"certificate", CertificateMismatch, func(o *forge.Options) { o.Chain = [][]byte{other.otherCert} }, nil},
		{"renewed", CertificateMismatch, func(o *forge.Options) { o.Chain = [][]byte{forge.SelfSigned("x", o.Key)} }, nil},
		{"key exchange", KeyExchangeNotRSA, func(o *forge.Options) { o.Suite, o.Cut = 0xc02f, "ServerHello" }, nil},
		{"cipher", CipherUnsupported, func(o *forge.Options) { o.Suite, o.Cut = 0x001e, "ServerHello" }, nil},
		{"session", SessionUnknown, func(o *forge.Options) {
			o.SessionID = []byte{1, 2, 3}
			o.Resume = forge.New(*o).State(false)
		}, nil},
	} {
		for _, v := range []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS11, handshake.TLS12} {
			o := options(v, rsaAES128SHA)
			test.o(&o)
			if _, ok := handshake.SuiteByID(o.Suite); !ok || test.name == "cipher" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%v", test.name, v), func(t *testing.T) {
				c := forge.New(o)
				for _, cut := range []func(int) int{whole, func(int) int { return 1 }} {
					b := newBox(t, test.cfg)
					if b.play(c.Segments, cut) {
						t.Fatalf("relayed: %+v", b.Flow())
					}
					if n := b.sent[handshake.Server].Len(); n > 0 {
						t.Fatalf("%d bytes of the server's first flight reached the client", n)
					}
					want := []byte{21, byte(v >> 8), byte(v), 0, 2, 2, 47}
					if !bytes.Equal(b.injected[0], want) || !bytes.Equal(b.injected[1], want) {
						t.Fatalf("sent % x and % x, want % x", b.injected[0], b.injected[1], want)
					}
					f := b.finish()
					wantCause(t, f, test.cause)
					if f.Action != ActionAlert {
						t.Errorf("action %v", f.Action)
					}
					monotonic(t, b.verdicts)
				}
			})
		}
	}
}

func TestMatchPublicKey(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	o.Chain = [][]byte{forge.SelfSigned("renewed.example", o.Key)}
	c := forge.New(o)
	exchange(c)
	b := newBox(t, func(c *Config) { c.MatchPublicKey = true })
	if !b.play(c.Segments, whole) {
		t.Fatalf("refused: %+v", b.Flow())
	}
	wantRead(t, b.finish())
}

// A refusal inside the connection is sealed as each peer's next record.
func TestRenegotiationRefused(t *testing.T) {
	for _, suite := range []uint16{rsaAES128SHA, rsaAES128GCM, rsaRC4SHA} {
		for _, v := range []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS12} {
			if suite == rsaAES128GCM && v != handshake.TLS12 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%v", handshake.SuiteName(suite), v), func(t *testing.T) {
				renegotiationRefused(t, options(v, suite))
			})
		}
	}
}

func renegotiationRefused(t *testing.T, o forge.Options) {
	c := forge.New(o)
	exchange(c)
	first := len(c.Bytes(handshake.Server))
	c.HelloRequest()
	request := len(c.Bytes(handshake.Server))
	second := o
	second.Chain = [][]byte{hosts().otherCert}
	c.Handshake(second)
	for name, cut := range map[string]func(int) int{"whole": whole, "bytes": func(int) int { return 1 }} {
		b := newBox(t, nil)
		if b.play(c.Segments, cut) {
			t.Fatalf("%s: relayed", name)
		}
		wantCause(t, b.finish(), CertificateMismatch)
		if got := b.sent[handshake.Server].Len(); got != request || first == request {
			t.Fatalf("%s: %d bytes of the server reached the client, want %d", name, got, request)
		}
		b.opensAlert(t, c)
	}
}

// opensAlert plays the peers: what each got must open, to the last record, which is the alert.
func (b *box) opensAlert(t *testing.T, c *forge.Conn) {
	t.Helper()
	for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
		got := append(bytes.Clone(b.sent[side].Bytes()), b.injected[side.Opposite()]...)
		g := newRig(t, nil)
		g.play(replace(c.Segments, side, got))
		var alert bool
		for _, l := range g.lines {
			alert = alert || bytes.Contains([]byte(l), []byte("fatal illegal_parameter (47)"))
		}
		if !alert {
			t.Fatalf("the alert in place of the %v's records did not open: %v (%s)", side, g.Flow().Cause, g.Flow().Detail)
		}
	}
}

// replace gives segments whose bytes of one side are others, cut at the same places.
func replace(segments []forge.Segment, side handshake.Side, b []byte) []forge.Segment {
	var all []forge.Segment
	for _, s := range segments {
		if s.Side == side {
			n := min(len(s.Data), len(b))
			s.Data, b = b[:n], b[n:]
		}
		all = append(all, s)
	}
	return append(all, forge.Segment{Side: side, Data: b})
}

// slowKeys answers when it is told to.
type slowKeys struct {
	local   *rsakex.Local
	pending []func()
}

func (k *slowKeys) MasterSecret(q rsakex.Request) *rsakex.Secret {
	s, settle := rsakex.NewSecret()
	k.pending = append(k.pending, func() {
		m, err := k.local.MasterSecret(q).Master()
		settle(m, err)
	})
	return s
}

func (k *slowKeys) answer() {
	for _, f := range k.pending {
		f()
	}
	k.pending = nil
}

// However late the private key answers, the same is read, and nothing waits for it on the wire.
func TestSlowKey(t *testing.T) {
	ticket := withClient(options(handshake.TLS12, rsaAES128GCM))
	ticket.Ticket, ticket.EMS = []byte("a ticket"), true
	for name, o := range map[string]forge.Options{
		"gcm": ticket, "cbc": options(handshake.TLS10, rsaAES128SHA), "ssl3": withClient(options(handshake.SSL30, rsaRC4SHA)),
	} {
		t.Run(name, func(t *testing.T) { slowKey(t, o) })
	}
}

func slowKey(t *testing.T, o forge.Options) {
	c := forge.New(o)
	request, response := exchange(c)
	var want string
	for after := 0; after <= len(c.Segments); after++ {
		keys := &slowKeys{}
		b := newBox(t, func(c *Config) { keys.local = rsakex.NewLocal(c.Ring); c.Keys = keys })
		for i, s := range c.Segments {
			if i >= after {
				b.resume(keys)
			}
			b.relay(s.Side, s.Data)
			if b.Held(handshake.Server) > 0 && i > 1 {
				t.Fatalf("segment %d is held for the private key", i)
			}
		}
		b.CloseSide(handshake.Client, testStart)
		b.resume(keys)
		f := b.finish()
		wantRead(t, f)
		b.wantPlain(t, handshake.Client, request)
		b.wantPlain(t, handshake.Server, response)
		if f.ClientProven != (o.ClientKey != nil) {
			t.Errorf("proven %v", f.ClientProven)
		}
		if after == 0 {
			want = b.story()
		} else if got := b.story(); got != want {
			t.Fatalf("after %d segments:\n%s\nat once:\n%s", after, abridged(got), abridged(want))
		}
	}
}

func (b *box) resume(keys *slowKeys) {
	keys.answer()
	if w := b.Waiting(); w != nil && w.Ready() {
		b.Resume(testStart)
		b.release()
	}
}

// A handshake inside the connection is held and judged, even if the key that opens it is late.
func TestSlowKeyRenegotiation(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	c := forge.New(o)
	relayed := len(c.Bytes(handshake.Server))
	second := o
	second.Chain, second.Cut = [][]byte{hosts().otherCert}, "ServerHelloDone"
	c.Handshake(second)
	keys := &slowKeys{}
	b := newBox(t, func(c *Config) { keys.local = rsakex.NewLocal(c.Ring); c.Keys = keys })
	b.play(c.Segments, whole)
	if got := b.sent[handshake.Server].Len(); got != relayed {
		t.Fatalf("%d bytes of the server reached the client, want %d", got, relayed)
	}
	b.resume(keys)
	b.refused()
	wantCause(t, b.finish(), CertificateMismatch)
	if len(b.injected[0]) <= 7 || len(b.injected[1]) <= 7 {
		t.Fatalf("sent % x and % x, want sealed alerts", b.injected[0], b.injected[1])
	}
}

// What is held is bounded, whatever the server sends in between.
func TestHeldIsBounded(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	c := forge.New(o)
	second := o
	second.Cut = "ServerHello"
	c.Handshake(second)
	b := newBox(t, nil)
	if !b.play(c.Segments, whole) {
		t.Fatalf("refused: %+v", b.Flow())
	}
	for i := 0; b.Verdict() != Refuse; i++ {
		if len(b.held[handshake.Server]) > 3*DefaultMaxHandshake {
			t.Fatalf("holds %d bytes", len(b.held[handshake.Server]))
		}
		before := len(c.Bytes(handshake.Server))
		c.Send(handshake.Server, make([]byte, 16<<10))
		b.relay(handshake.Server, c.Bytes(handshake.Server)[before:])
	}
	wantCause(t, b.finish(), HandshakeTooLarge)
}

// A policy that forwards no plaintext decides on the first byte.
func TestPlaintextRefused(t *testing.T) {
	b := newBox(t, func(c *Config) { c.Policy[NotTLS] = ActionReset })
	if b.relay(handshake.Client, []byte("GET / HTTP/1.0\r\n\r\n")) || b.sent[handshake.Client].Len() > 0 {
		t.Fatal("plaintext was relayed")
	}
	wantCause(t, b.finish(), NotTLS)
	c := forge.New(options(handshake.TLS12, rsaAES128GCM))
	b = newBox(t, func(c *Config) { c.Policy[NotTLS] = ActionReset })
	if !b.play(c.Segments, whole) {
		t.Fatalf("refused: %+v", b.Flow())
	}
	wantRead(t, b.finish())
}

// A session may be resumed before the private key has opened the handshake that began it.
func TestResumedBeforeItsKey(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	o.SessionID = bytes.Repeat([]byte{9}, 32)
	full := forge.New(o)
	keys := &slowKeys{}
	b := newBox(t, func(c *Config) { keys.local = rsakex.NewLocal(c.Ring); c.Keys = keys })
	b.play(full.Segments, whole)
	o.Resume = full.State(false)
	again := forge.New(o)
	request, _ := exchange(again)
	b2 := &box{t: t, rig: b.next()}
	if !b2.play(again.Segments, whole) {
		t.Fatalf("refused: %+v", b2.Flow())
	}
	keys.answer()
	b2.Resume(testStart)
	wantRead(t, b2.finish())
	b2.wantPlain(t, handshake.Client, request)
}

func TestBadPaddingLooksLikeGood(t *testing.T) {
	type seen struct {
		sent    [2]int
		verdict Verdict
		action  Action
		cause   Cause
	}
	var all []seen
	for _, bad := range []bool{false, true} {
		o := options(handshake.TLS12, rsaAES128GCM)
		o.BadPadding = bad
		c := forge.New(o)
		// The attacker does not know the premaster secret, and sends a Finished of its own making.
		if !bad {
			last := c.Segments[2].Data
			last[len(last)-1] ^= 1
		}
		b := newBox(t, nil)
		b.play(c.Segments, whole)
		f := b.finish()
		all = append(all, seen{[2]int{b.sent[0].Len(), b.sent[1].Len()}, b.Verdict(), f.Action, f.Cause})
	}
	if all[0] != all[1] {
		t.Errorf("good padding: %+v\nbad padding: %+v", all[0], all[1])
	}
}

// Sessions are resumed through the box by ID and by ticket, also inside a connection.
func TestResumptionInline(t *testing.T) {
	for _, v := range []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS12} {
		for _, byTicket := range []bool{false, true} {
			for _, inside := range []bool{false, true} {
				o := withClient(options(v, rsaAES128SHA))
				o.SessionID = bytes.Repeat([]byte{3}, 32)
				if byTicket {
					o.Ticket = []byte("a ticket")
				}
				c := forge.New(o)
				want, _ := exchange(c)
				b := newBox(t, nil)
				o.Resume, o.Ticket = c.State(byTicket), nil
				if inside {
					c.Handshake(o)
				} else {
					b.play(c.Segments, whole)
					b.finish()
					b = &box{t: t, rig: b.next()}
					c, want = forge.New(o), nil
				}
				request, _ := exchange(c)
				if !b.play(c.Segments, whole) {
					t.Fatalf("%v, ticket %v, inside %v: refused: %+v", v, byTicket, inside, b.Flow())
				}
				f := b.finish()
				wantRead(t, f)
				b.wantPlain(t, handshake.Client, append(want, request...))
				if f.Resumed == ResumedNot || !f.ClientProven {
					t.Errorf("%v, ticket %v, inside %v: resumed %v, proven %v", v, byTicket, inside, f.Resumed, f.ClientProven)
				}
				if b.sent[handshake.Server].Len() != len(c.Bytes(handshake.Server)) {
					t.Error("not all was relayed")
				}
			}
		}
	}
}

// A renegotiation may resume nothing that was begun out of sight.
func TestUnknownSessionInside(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	o.SessionID = []byte{1, 2, 3}
	out := forge.New(o)
	o.SessionID = nil
	c := forge.New(o)
	exchange(c)
	may := len(c.Bytes(handshake.Server))
	o.Resume = out.State(false)
	c.Handshake(o)
	attack{c, may, SessionUnknown}.fails(t, false)
}
