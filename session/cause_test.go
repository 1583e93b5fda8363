// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// clear is a connection of bytes that are no forged handshake: client first, then by turns.
func plaintext(turns ...string) []forge.Segment {
	var all []forge.Segment
	for i, b := range turns {
		if b != "" {
			all = append(all, forge.Segment{Side: handshake.Side(i % 2), Data: []byte(b)})
		}
	}
	return all
}

// helloOf is a record with a ServerHello.
func helloOf(version, suite uint16, compression byte, extensions ...byte) []byte {
	body := append([]byte{byte(version >> 8), byte(version)}, make([]byte, 32+1)...)
	body = append(append(body, byte(suite>>8), byte(suite), compression), extensions...)
	body = append([]byte{2, 0, 0, byte(len(body))}, body...)
	return plainRecord(handshake.ContentHandshake, handshake.TLS12, body)
}

// flipped is a connection with a bit of a side's last segment changed.
func flipped(o forge.Options, side handshake.Side) []forge.Segment {
	c := forge.New(o)
	exchange(c)
	for i := len(c.Segments) - 1; i >= 0; i-- {
		if s := c.Segments[i]; s.Side == side {
			s.Data[len(s.Data)-1] ^= 1
			break
		}
	}
	return c.Segments
}

// Every flow that is not fully read says why, with exactly one cause, however its bytes are cut.
func TestCauses(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	with := func(change func(*forge.Options)) []forge.Segment {
		o := withClient(o)
		change(&o)
		return forge.New(o).Segments
	}
	hello := with(func(o *forge.Options) { o.Cut = "ClientHello" })
	answer := func(b ...byte) []forge.Segment {
		return append(hello[:1:1], forge.Segment{Side: handshake.Server, Data: b})
	}
	client, server := handshake.Client, handshake.Server
	established := forge.New(o).Segments
	for name, test := range map[string]struct {
		segments []forge.Segment
		cause    Cause
		outcome  Outcome
		noSYN    bool
	}{
		"nothing":                {nil, NotTLS, OutcomeUnread, false},
		"plaintext":              {plaintext("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"), NotTLS, OutcomeUnread, false},
		"plaintext, amid":        {plaintext("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"), NotTLS, OutcomeUnread, true},
		"plaintext, answered":    {answer([]byte("HTTP/1.0 400 Bad Request\r\n\r\n")...), NotTLS, OutcomeUnread, false},
		"records, amid":          {plaintext("\x17\x03\x03\x00\x20 and so on"), Midstream, OutcomeUnread, true},
		"server's records, amid": {plaintext("", "\x17\x03\x03\x00\x20 and so on"), Midstream, OutcomeUnread, true},
		"within a record":        {plaintext("", "rest of a record\x17\x03\x03\x00\x03abc\x17\x03\x03\x00\x09"), Midstream, OutcomeUnread, true},
		"one header is none":     {plaintext("", "rest of a record\x17\x03\x03\x00\x03abc\x17\x03\x01\x00\x09"), NotTLS, OutcomeUnread, true},
		"its ServerHello, amid":  {plaintext("", "\x16\x03\x03\x00\x50\x02 and so on"), Midstream, OutcomeUnread, true},
		"its ServerHello first":  {plaintext("", "\x16\x03\x03\x00\x04\x02\x00\x00\x00"), Malformed, OutcomeUnread, false},
		"SSL 2.0":                {answer(0x80, 0x0b, 4, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0), NotTLS, OutcomeUnread, false},
		"version":                {answer(helloOf(0x0309, rsaAES128SHA, 0)...), VersionUnsupported, OutcomeUnread, false},
		"unknown suite":          {answer(helloOf(0x0303, 0xfa01, 0)...), CipherUnsupported, OutcomeUnread, false},
		"compression":            {answer(helloOf(0x0303, rsaAES128SHA, 64)...), CompressionUnsupported, OutcomeUnread, false},
		"truncated MAC":          {answer(helloOf(0x0303, rsaAES128SHA, 0, 0, 4, 0, 4, 0, 0)...), CipherUnsupported, OutcomeUnread, false},
		"key exchange":           {with(func(o *forge.Options) { o.Suite, o.Cut = 0xc02f, "ServerHello" }), KeyExchangeNotRSA, OutcomeUnread, false},
		"certificate":            {with(func(o *forge.Options) { *o = wrong(*o) }), NoKeyForCertificate, OutcomeUnread, false},
		"session":                {with(func(o *forge.Options) { o.SessionID = []byte{1}; o.Resume = forge.New(*o).State(false) }), SessionUnknown, OutcomeUnread, false},
		"client's Finished":      {with(func(o *forge.Options) { o.WrongFinished = &client }), FinishedMismatch, OutcomeUnread, false},
		"server's Finished":      {with(func(o *forge.Options) { o.WrongFinished = &server }), FinishedMismatch, OutcomeUnread, false},
		"padding":                {with(func(o *forge.Options) { o.BadPadding = true }), DecryptFailed, OutcomeUnread, false},
		"client's record":        {flipped(o, client), DecryptFailed, OutcomePartial, false},
		"server's record":        {flipped(options(handshake.TLS10, rsaAES128SHA), server), DecryptFailed, OutcomePartial, false},
		"too large":              {answer(22, 3, 3, 0, 6, 2, 0xff, 0xff, 0xff, 3, 3), HandshakeTooLarge, OutcomeUnread, false},
		"unprotected data":       {answer(23, 3, 3, 0, 1, 0), Malformed, OutcomeUnread, false},
		"client's garbage":       {append(hello[:1:1], plaintext("garbage, garbage")...), Malformed, OutcomeUnread, false},
		"early Finished":         {append(hello[:1:1], plaintext("\x16\x03\x03\x00\x04\x14\x00\x00\x00")...), Malformed, OutcomeUnread, false},
		"empty alert":            {answer(21, 3, 3, 0, 0), Malformed, OutcomeUnread, false},
		"odd ChangeCipherSpec":   {answer(20, 3, 3, 0, 1, 2), Malformed, OutcomeUnread, false},
		"only a ClientHello":     {hello, CauseNone, OutcomeRead, false},
		"refused by the server":  {answer(21, 3, 3, 0, 2, 2, 40), CauseNone, OutcomeRead, false},
		"ends amid a record":     {append(established, forge.Segment{Side: client, Data: []byte{23, 3, 3, 0, 40, 1}}), CauseNone, OutcomeRead, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{1 << 20, 1, 6} {
				g := newRig(t, nil)
				g.Session.flow.NoSYN = test.noSYN
				for _, s := range test.segments {
					for b := s.Data; len(b) > 0; {
						k := min(n, len(b))
						g.Feed(s.Side, testStart, b[:k])
						b = b[k:]
					}
				}
				f := g.finish()
				if f.Cause != test.cause || f.Outcome != test.outcome || f.Action != ActionNone {
					t.Fatalf("%d bytes at a time: %v, cause %v (%s)", n, f.Outcome, f.Cause, f.Detail)
				}
				if shown := g.plain[0].Len() + g.plain[1].Len(); f.Cause == Midstream && shown > 0 && shown != 29 {
					t.Errorf("shows %d bytes of records as plaintext", shown)
				}
				if f.Outcome == OutcomeRead && f.Detail == "" {
					t.Error("does not say what it lacks")
				}
				if again := g.End(testStart); again != f {
					t.Error("ended twice")
				}
			}
		})
	}
}

// What the feed finds is a cause like any other, and the first one counts.
func TestFail(t *testing.T) {
	g := newRig(t, nil)
	c := forge.New(options(handshake.TLS12, rsaAES128GCM))
	g.play(c.Segments[:1])
	if g.HandshakeDone() {
		t.Error("a handshake that began is done")
	}
	g.Fail(Bypassed, "asked for", testStart)
	g.Fail(HandshakeTimeout, "too late", testStart)
	g.Reset(handshake.Server, testStart)
	if !g.HandshakeDone() {
		t.Error("a failed handshake is not done")
	}
	f := g.finish()
	wantCause(t, f, Bypassed)
	g.Feed(handshake.Client, testStart, []byte("more"))
	g.Fail(Malformed, "late", testStart)
	g.Gap(handshake.Client, testStart, 5)
	g.CloseSide(handshake.Client, testStart)
	g.Resume(testStart)
	if f.Cause != Bypassed || f.Detail != "asked for" {
		t.Errorf("%v (%s)", f.Cause, f.Detail)
	}
}

// A hole where the ClientHello was, or a direction that is not there at all.
func TestLostClientHello(t *testing.T) {
	c := forge.New(options(handshake.TLS12, rsaAES128GCM))
	exchange(c)
	for name, lost := range map[string]func(s forge.Segment, i int) bool{
		"ClientHello": func(_ forge.Segment, i int) bool { return i == 0 },
		"client":      func(s forge.Segment, _ int) bool { return s.Side == handshake.Client },
		"server":      func(s forge.Segment, _ int) bool { return s.Side == handshake.Server },
		"both":        func(forge.Segment, int) bool { return true },
	} {
		g := newRig(t, nil)
		for i, s := range c.Segments {
			if lost(s, i) {
				g.Gap(s.Side, testStart, len(s.Data))
			} else {
				g.Feed(s.Side, testStart, s.Data)
			}
		}
		f := g.finish()
		wantCause(t, f, PacketLoss)
		if n := g.plain[0].Len() + g.plain[1].Len(); n > 0 {
			t.Errorf("%s lost: shows %d bytes of records as plaintext", name, n)
		}
	}
}

// Things that real peers do.
func TestOddities(t *testing.T) {
	npn := withClient(options(handshake.TLS12, rsaAES128SHA))
	npn.NPN = "http/1.1"
	falseStart := options(handshake.TLS12, rsaAES128GCM)
	falseStart.FalseStart, falseStart.Ticket = []byte("early bird, "), []byte("ticket")
	small := options(handshake.TLS12, rsaAES128GCM)
	small.Fragment = 64
	for name, o := range map[string]forge.Options{
		"npn": npn, "false start": falseStart, "small records": small,
		"old": withClient(options(handshake.SSL30, rsaRC4SHA)),
	} {
		t.Run(name, func(t *testing.T) {
			c := forge.New(o)
			want := bytes.Clone(o.FalseStart)
			for i := range 20 {
				c.Record(handshake.Client, handshake.ContentHeartbeat, []byte{1, 0, 0})
				c.Send(handshake.Client, nil)
				c.Send(handshake.Client, []byte{byte(i)}) // 1/n-1
				c.Send(handshake.Client, []byte("n-1 of it"))
				want = append(append(want, byte(i)), "n-1 of it"...)
				c.HelloRequest() // which the client ignores
				c.Alert(handshake.Client, handshake.Alert{Level: 1, Description: handshake.AlertNoRenegotiation})
			}
			for _, cut := range cuts {
				b := newBox(t, nil)
				if !b.play(c.Segments, cut) {
					t.Fatalf("refused: %+v", b.Flow())
				}
				f := b.finish()
				wantRead(t, f)
				b.wantPlain(t, handshake.Client, want)
				if f.ALPN != o.NPN {
					t.Errorf("protocol %q", f.ALPN)
				}
				if b.sent[handshake.Server].Len() != len(c.Bytes(handshake.Server)) {
					t.Error("not all was relayed")
				}
			}
		})
	}
}

// A server that will not renegotiate says so, and both go on.
func TestNoRenegotiation(t *testing.T) {
	o := options(handshake.TLS12, rsaAES128GCM)
	c := forge.New(o)
	o.Cut = "ClientHello"
	c.Handshake(o)
	c.Alert(handshake.Server, handshake.Alert{Level: 1, Description: handshake.AlertNoRenegotiation})
	request, response := exchange(c)
	b := newBox(t, nil)
	if !b.play(c.Segments, whole) || !b.HandshakeDone() {
		t.Fatalf("%+v", b.Flow())
	}
	wantRead(t, b.finish())
	b.wantPlain(t, handshake.Client, request)
	b.wantPlain(t, handshake.Server, response)
}
