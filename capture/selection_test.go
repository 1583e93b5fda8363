// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// selected returns the clients of the flows that a selection picks out of a capture.
func selected(t *testing.T, sel Selection, path string) []string {
	t.Helper()
	want, _ := decrypt(t, Options{}, path)
	s, _ := decrypt(t, Options{Select: sel, Workers: 3}, path)
	var clients []string
	for _, f := range s.flows {
		clients = append(clients, f.Client.String())
		// What is shown of a flow is all of it.
		for _, w := range want.flows {
			if w.Client == f.Client && (s.said(f.ID, handshake.Server) != want.said(w.ID, handshake.Server) || w.Outcome != f.Outcome) {
				t.Errorf("flow of %v: %d bytes, want %d", f.Client, len(s.said(f.ID, handshake.Server)), len(want.said(w.ID, handshake.Server)))
			}
		}
	}
	if len(s.plain) > len(s.flows) {
		t.Errorf("%d flows have data, %d ended", len(s.plain), len(s.flows))
	}
	slices.Sort(clients)
	return clients
}

func TestSelection(t *testing.T) {
	var wires []*wire
	for i, host := range []string{"10.0.0.1:40000", "10.0.0.2:40001", "[2001:db8::3]:40002", "10.0.1.4:40003"} {
		to := "10.9.9.9:443"
		if i == 2 {
			to = "[2001:db8::9]:8443"
		}
		o := forgeOptions(suiteGCM)
		if i%2 == 1 {
			key, cert := client()
			o.ClientKey, o.ClientChain = key, [][]byte{cert}
		}
		wires = append(wires, newWire(host, to).play(talk(o, 5000)))
	}
	plain := newWire("10.0.0.5:40004", "10.9.9.9:443").open()
	plain.send(handshake.Client, []byte("HELLO\r\n"))
	wires = append(wires, plain.close())
	path := pcapOf(t, interleave(rand.New(rand.NewPCG(1, 1)), wires, time.Microsecond))
	all := []string{"10.0.0.1:40000", "10.0.0.2:40001", "10.0.0.5:40004", "10.0.1.4:40003", "[2001:db8::3]:40002"}
	_, cert := client()
	subject := func(leaf []byte) bool { return bytes.Equal(leaf, cert) }
	net := func(s ...string) (p []netip.Prefix) {
		for _, s := range s {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	for name, tt := range map[string]struct {
		sel  Selection
		want []string
	}{
		"all":             {Selection{}, all},
		"address":         {Selection{Nets: net("10.0.0.2/32")}, all[1:2]},
		"networks":        {Selection{Nets: net("10.0.1.0/24", "2001:db8::/64")}, all[3:]},
		"server":          {Selection{Nets: net("10.9.9.9/32")}, all[:4]},
		"port":            {Selection{Ports: []uint16{8443}}, all[4:]},
		"ports":           {Selection{Ports: []uint16{8443, 40001}}, []string{all[1], all[4]}},
		"address, port":   {Selection{Nets: net("10.0.0.0/16"), Ports: []uint16{8443}}, nil},
		"subject":         {Selection{ClientSubject: subject}, []string{all[1], all[3]}},
		"subject, net":    {Selection{ClientSubject: subject, Nets: net("10.0.1.0/24")}, all[3:4]},
		"no such subject": {Selection{ClientSubject: func([]byte) bool { return false }}, nil},
		"no such name":    {Selection{ServerNames: []string{"nowhere.example"}}, nil},
		"any name":        {Selection{ServerNames: []string{"*"}}, all},
	} {
		t.Run(name, func(t *testing.T) {
			if got := selected(t, tt.sel, path); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// names makes the events of flows as a session would, with a server name in the hello.
func TestSelectionByName(t *testing.T) {
	for name, tt := range map[string]struct {
		patterns []string
		server   string
		want     bool
	}{
		"exact":         {[]string{"www.example.org"}, "www.example.org", true},
		"case":          {[]string{"WWW.Example.org"}, "www.EXAMPLE.org", true},
		"dot":           {[]string{"www.example.org"}, "www.example.org.", true},
		"star":          {[]string{"*.example.org"}, "a.b.example.org", true},
		"other":         {[]string{"*.example.org"}, "example.com", false},
		"one of two":    {[]string{"a.example", "b.example"}, "b.example", true},
		"no name":       {[]string{"a.example"}, "", false},
		"wrong pattern": {[]string{"[a"}, "[a", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t)
			h := (&Selection{ServerNames: tt.patterns}).handler(s)
			f := &session.Flow{ID: 7}
			e := func(k session.Kind) { h.Event(&session.Event{Kind: k, Flow: f, Data: []byte("x")}) }
			e(session.KindOpen)
			e(session.KindData)
			if len(s.lines) > 0 {
				t.Error("an event was shown before the flow was picked")
			}
			f.TLS, f.ServerName = true, tt.server
			e(session.KindHello)
			e(session.KindData)
			e(session.KindEnd)
			if got := len(s.lines) == 5; got != tt.want || len(s.lines) != 0 && len(s.lines) != 5 {
				t.Errorf("%d events", len(s.lines))
			}
			if tt.want && s.said(7, handshake.Client) != "xx" {
				t.Errorf("%q", s.said(7, handshake.Client))
			}
		})
	}
}

// What is kept of flows that are not decided is bounded.
func TestSelectionMemory(t *testing.T) {
	s := newStory(t)
	sel := (&Selection{ServerNames: []string{"x"}}).handler(s).(*selector)
	var flows []*session.Flow
	for i := range 2000 {
		f := &session.Flow{ID: uint64(i + 1)}
		flows = append(flows, f)
		for range 3 {
			sel.Event(&session.Event{Kind: session.KindData, Flow: f, Data: make([]byte, 16<<10)})
			if sel.held > maxPendingTotal+32<<10 {
				t.Fatalf("%d bytes are kept", sel.held)
			}
		}
	}
	for _, f := range flows {
		sel.Event(&session.Event{Kind: session.KindEnd, Flow: f})
	}
	if sel.held != 0 || len(sel.flows) != 0 || len(s.lines) != 0 {
		t.Errorf("%d bytes of %d flows are kept, %d events shown", sel.held, len(sel.flows), len(s.lines))
	}
}
