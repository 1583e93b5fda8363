// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

func flow(id uint64) *session.Flow {
	return &session.Flow{
		ID:     id,
		Client: netip.MustParseAddrPort("192.0.2.7:51234"),
		Server: netip.MustParseAddrPort("198.51.100.1:443"),
		Start:  time.Unix(1700000000, 0),
	}
}

func tell(f *session.Flow, events ...session.Event) string {
	var out strings.Builder
	s := NewStories(&out, nil)
	for i, e := range events {
		e.Flow, e.Time = f, f.Start.Add(time.Duration(i)*time.Millisecond)
		s.Event(&e)
	}
	return out.String()
}

func TestStory(t *testing.T) {
	f := flow(3)
	f.TLS, f.ClientHelloVersion, f.Version, f.Suite = true, handshake.TLS12, handshake.TLS12, 0x009C
	f.ServerName, f.EMS, f.ALPN, f.KeySource, f.Outcome = "shop.example", true, "h2", "shop.key", session.OutcomeRead
	got := tell(f,
		session.Event{Kind: session.KindOpen},
		session.Event{Kind: session.KindHello},
		session.Event{Kind: session.KindEstablished},
		session.Event{Kind: session.KindData, Data: []byte("GET / HTTP/1.1\r\nHost: x\r\n")},
		session.Event{Kind: session.KindData, Data: []byte("not again")},
		session.Event{Kind: session.KindData, Side: handshake.Server, Data: []byte("HTTP/1.1 200 OK\r\n")},
		session.Event{Kind: session.KindGap, Side: handshake.Server, Lost: 17},
		session.Event{Kind: session.KindAlert, Alert: handshake.Alert{Level: handshake.Warning}},
		session.Event{Kind: session.KindFin},
		session.Event{Kind: session.KindReset, Side: handshake.Server},
		session.Event{Kind: session.KindEnd},
	)
	for _, want := range []string{
		"Flow 3: 192.0.2.7:51234 to 198.51.100.1:443, 2023-11-14 22:13:20.000 UTC\n",
		"0.001 s  The client offered TLS 1.2 for shop.example.",
		"The server chose TLS 1.2, TLS_RSA_WITH_AES_128_GCM_SHA256, with extended master secret, ALPN h2.",
		"shop.key fits",
		"Both Finished messages were right",
		`The client's first application data: "GET / HTTP/1.1".`,
		"17 bytes of the server are missing",
		"close_notify",
		"The client ended its direction.",
		"The server broke the connection",
		"Read, from the first protected byte to the last.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("does not say %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "not again") {
		t.Errorf("too much data:\n%s", got)
	}
}

func TestStoryOfEveryCause(t *testing.T) {
	for _, c := range session.Causes() {
		f := flow(1)
		f.Cause, f.Detail, f.Action = c, "the detail", session.ActionAlert
		got := tell(f, session.Event{Kind: session.KindOpen}, session.Event{Kind: session.KindEnd})
		for _, want := range []string{c.String() + ": the detail", "Why: " + For(c).Why, "What to do: " + For(c).Do, "action was: alert"} {
			if !strings.Contains(got, want) {
				t.Errorf("%v: does not say %q:\n%s", c, want, got)
			}
		}
	}
}

func TestStoriesAreChosenAndBounded(t *testing.T) {
	var out strings.Builder
	s := NewStories(&out, func(f *session.Flow) bool { return f.ID == 2 })
	for id := range uint64(3) {
		f := flow(id)
		s.Event(&session.Event{Kind: session.KindOpen, Flow: f, Time: f.Start})
		for range 3 * maxLines {
			s.Event(&session.Event{Kind: session.KindGap, Flow: f, Time: f.Start, Lost: 1})
		}
		s.Event(&session.Event{Kind: session.KindEnd, Flow: f, Time: f.Start})
	}
	if told, err := s.Told(); told != 1 || err != nil || len(s.flows) != 0 {
		t.Errorf("told %d, %v, %d left", told, err, len(s.flows))
	}
	if got := out.String(); strings.Count(got, "\n") > maxLines+10 || !strings.Contains(got, "more events") || strings.Contains(got, "Flow 1") {
		t.Errorf("%s", got)
	}
}
