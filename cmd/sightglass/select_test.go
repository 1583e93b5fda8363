// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/netip"
	"testing"

	"github.com/spf13/pflag"

	"github.com/sightglass/sightglass/session"
)

type recorder struct{ kinds []session.Kind }

func (r *recorder) Event(e *session.Event) { r.kinds = append(r.kinds, e.Kind) }

func clientCertificate(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestSelection(t *testing.T) {
	alice := clientCertificate(t, "Alice")
	tests := []struct {
		name string
		args []string
		want bool
	}{
		{"nothing", nil, true},
		{"flow", []string{"--flow", "7"}, true},
		{"other flow", []string{"--flow", "8"}, false},
		{"client address", []string{"--address", "192.0.2.7"}, true},
		{"server network", []string{"--address", "198.51.100.9/24"}, true},
		{"other network", []string{"--address", "203.0.113.0/24"}, false},
		{"one of two", []string{"--address", "203.0.113.0/24,192.0.2.7"}, true},
		{"port", []string{"--port", "443"}, true},
		{"other port", []string{"--port", "80"}, false},
		{"name", []string{"--server-name", "Shop.example"}, true},
		{"pattern", []string{"--server-name", "*.example"}, true},
		{"other name", []string{"--server-name", "example"}, false},
		{"subject", []string{"--client-subject", "cn=alice"}, true},
		{"other subject", []string{"--client-subject", "bob"}, false},
		{"one kind does not fit", []string{"--port", "443", "--client-subject", "bob"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s selection
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			s.addFlags(flags)
			if err := flags.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			f := &session.Flow{ID: 7, Client: netip.MustParseAddrPort("192.0.2.7:50000"), Server: netip.MustParseAddrPort("198.51.100.1:443")}
			got := &recorder{}
			h := s.handler(got)
			send := func(k session.Kind) { h.Event(&session.Event{Kind: k, Flow: f, Data: []byte("x")}) }
			send(session.KindOpen)
			f.ServerName = "shop.example"
			send(session.KindHello)
			f.ClientChain = [][]byte{alice}
			send(session.KindEstablished)
			send(session.KindData)
			send(session.KindEnd)
			want := 0
			if tt.want {
				want = 5 // in order, whenever it was decided
			}
			if len(got.kinds) != want {
				t.Fatalf("%v", got.kinds)
			}
			for i := 1; i < len(got.kinds); i++ {
				if got.kinds[i] < got.kinds[i-1] {
					t.Errorf("order: %v", got.kinds)
				}
			}
			if s.fits(f) != tt.want {
				t.Error("fits says otherwise")
			}
			if c, ok := h.(*chosen); ok && len(c.flows) != 0 {
				t.Error("the flow is not forgotten")
			}
		})
	}
}

func TestSelectionRefuses(t *testing.T) {
	for _, args := range [][]string{{"--flow", "x"}, {"--address", "x"}, {"--port", "70000"}, {"--server-name", "[a"}} {
		var s selection
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		s.addFlags(flags)
		if err := flags.Parse(args); err == nil {
			t.Errorf("%v: accepted", args)
		}
	}
}
