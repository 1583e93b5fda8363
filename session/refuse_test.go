// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/record"
)

// What the client sent ahead of a refusal is whole records again before the alert follows it.
func TestAlertFollowsWholeRecords(t *testing.T) {
	for _, suite := range []uint16{rsaAES128SHA, rsaAES128GCM, rsaRC4SHA} {
		o := options(handshake.TLS12, suite)
		c := forge.New(o)
		exchange(c)
		c.Record(handshake.Client, handshake.ContentHandshake, []byte{16, 0, 0, 0}) // out of place
		for range 3 {
			c.Send(handshake.Client, make([]byte, 300))
		}
		for _, n := range []int{1 << 20, 1, 200, 340, 700, 1001} {
			t.Run(fmt.Sprintf("%s/%d", handshake.SuiteName(suite), n), func(t *testing.T) {
				b := newBox(t, func(c *Config) { c.Policy = alwaysAlert() })
				if b.play(c.Segments, func(all int) int { return min(all, n) }) {
					t.Fatal("relayed")
				}
				wantCause(t, b.finish(), Malformed)
				if b.Refusal().Action != ActionAlert {
					t.Fatalf("action %v", b.Refusal().Action)
				}
				for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
					got := append(bytes.Clone(b.sent[side].Bytes()), b.injected[side.Opposite()]...)
					endsInAlert(t, c.Opener(side), got)
				}
			})
		}
	}
}

// endsInAlert plays the peer that gets these records: each must open, and the last is the alert.
func endsInAlert(t *testing.T, o *record.Opener, got []byte) {
	t.Helper()
	protected := false
	for len(got) > 0 {
		n := handshake.RecordHeaderLen + int(got[3])<<8 + int(got[4])
		rec := got[:n]
		got = got[n:]
		if !protected {
			protected = rec[0] == byte(handshake.ContentChangeCipherSpec)
			continue
		}
		typ, b, err := o.Open(nil, rec)
		if err != nil {
			t.Fatalf("a record does not open: %v", err)
		}
		if len(got) == 0 && (typ != handshake.ContentAlert || !bytes.Equal(b, []byte{2, 47})) {
			t.Fatalf("the last record is % x of type %v", b, typ)
		}
	}
}

func alwaysAlert() (p Policy) {
	for i := range p {
		p[i] = ActionAlert
	}
	return p
}

// halfway is a connection that is refused in a renegotiation while the client is amid a record.
func halfway(t *testing.T) (*box, *forge.Conn, []byte) {
	o := options(handshake.TLS12, rsaAES128GCM)
	c := forge.New(o)
	exchange(c)
	second := wrong(o)
	second.Cut = "ClientHello"
	c.Handshake(second)
	b := newBox(t, nil)
	b.play(c.Segments, whole)
	before := len(c.Bytes(handshake.Client))
	c.Send(handshake.Client, make([]byte, 1000))
	half := c.Bytes(handshake.Client)[before:]
	b.relay(handshake.Client, half[:500])
	before = len(c.Bytes(handshake.Server))
	c.Record(handshake.Server, handshake.ContentHandshake, flightOf(second))
	b.relay(handshake.Server, c.Bytes(handshake.Server)[before:])
	if b.Verdict() == Refuse || b.Flow().Cause != CertificateMismatch || b.HandshakeDone() {
		t.Fatalf("verdict %v, cause %v", b.Verdict(), b.Flow().Cause)
	}
	if b.Held(handshake.Server) == 0 || b.Ahead(handshake.Server, []byte{23, 3, 3, 0, 0}) > 0 {
		t.Fatal("the refused flight is not held")
	}
	return b, c, half[500:]
}

func TestAlertWaitsForRecord(t *testing.T) {
	b, c, rest := halfway(t)
	if b.relay(handshake.Client, append(bytes.Clone(rest), 23, 3, 3)) {
		t.Fatal("not refused")
	}
	if n := b.Held(handshake.Client); n != 3 {
		t.Fatalf("%d bytes behind the record are held, want 3", n)
	}
	b.opensAlert(t, c)
	wantCause(t, b.finish(), CertificateMismatch)
}

// A refusal does not wait for ever: then it is a reset.
func TestAlertGivesUp(t *testing.T) {
	for name, end := range map[string]func(*box){
		"timeout": func(b *box) { b.Fail(HandshakeTimeout, "took too long", testStart) },
		"close":   func(b *box) { b.CloseSide(handshake.Client, testStart) },
		"end":     func(b *box) { b.End(testStart) },
		"garbage": func(b *box) { b.relay(handshake.Client, make([]byte, 600)) },
	} {
		b, _, _ := halfway(t)
		end(b)
		if r := b.Refusal(); r == nil || r.Action != ActionReset || r.Cause != CertificateMismatch {
			if name != "garbage" || r == nil || r.Action != ActionAlert {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if b.Flow().Cause != CertificateMismatch {
			t.Errorf("%s: cause %v", name, b.Flow().Cause)
		}
	}
}

// While the private key is at work, what was relayed is ahead of what was opened: no alert fits.
func TestNoAlertBehindQueue(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	c := forge.New(o)
	exchange(c)
	keys := &slowKeys{}
	b := newBox(t, func(c *Config) { c.Keys, c.Policy = keys, alwaysAlert() })
	b.play(c.Segments, whole)
	b.Fail(HandshakeTimeout, "took too long", testStart)
	if r := b.Refusal(); r == nil || r.Action != ActionReset {
		t.Fatalf("%+v", r)
	}
}

// Overload forwards by default, but not what nobody judged.
func TestOverload(t *testing.T) {
	for _, held := range []bool{false, true} {
		c := forge.New(options(handshake.TLS12, rsaAES128GCM))
		if held {
			c.HelloRequest()
		}
		keys := &slowKeys{}
		b := newBox(t, func(c *Config) { c.Keys, c.MaxBacklog = keys, 1000 })
		b.play(c.Segments, whole)
		if b.Waiting() == nil || b.Backlog() == 0 || (b.Held(handshake.Server) > 0) != held {
			t.Fatalf("waiting %v, backlog %d, held %d", b.Waiting(), b.Backlog(), b.Held(handshake.Server))
		}
		before := len(c.Bytes(handshake.Client))
		for range 30 {
			c.Send(handshake.Client, make([]byte, 100))
		}
		b.relay(handshake.Client, c.Bytes(handshake.Client)[before:])
		wantCause(t, b.finish(), Overload)
		want := map[bool]Verdict{false: Bypass, true: Refuse}[held]
		if b.Verdict() != want || b.Backlog() != 0 {
			t.Fatalf("verdict %v, want %v", b.Verdict(), want)
		}
	}
}

// A policy that says nothing does not forward.
func TestNoPolicy(t *testing.T) {
	b := newBox(t, func(c *Config) { c.Policy = Policy{} })
	if b.play(forge.New(wrong(options(handshake.TLS12, rsaAES128GCM))).Segments, whole) {
		t.Fatal("relayed")
	}
}

func TestWords(t *testing.T) {
	for _, c := range Causes() {
		got, err := ParseCause(c.String())
		if got != c || err != nil || c.String() != strings.ToLower(c.String()) {
			t.Errorf("%v: %v, %v", c, got, err)
		}
		if DefaultPolicy()[c] == ActionNone {
			t.Errorf("%v has no action", c)
		}
	}
	for _, a := range []Action{ActionAlert, ActionReset, ActionForward} {
		if got, err := ParseAction(a.String()); got != a || err != nil {
			t.Errorf("%v: %v, %v", a, got, err)
		}
	}
	for _, bad := range []string{"", "nonsense"} {
		if _, err := ParseCause(bad); err == nil {
			t.Errorf("%q is a cause", bad)
		}
		if _, err := ParseAction(bad); err == nil {
			t.Errorf("%q is an action", bad)
		}
	}
	if s := fmt.Sprint(Cause(200), Action(200), CauseNone, ActionNone); s != "cause(200) action(200)  " {
		t.Errorf("%q", s)
	}
	if s := fmt.Sprint(OutcomeRead, OutcomePartial, OutcomeUnread, ResumedNot, ResumedID, ResumedTicket, ResumedPSK,
		Undecided, Relay, Bypass, Refuse); s != "read partial unread no id ticket psk undecided relay bypass refuse" {
		t.Errorf("%q", s)
	}
}
