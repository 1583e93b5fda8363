// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"

	"github.com/spf13/pflag"

	"github.com/sightglass/sightglass/session"
)

func parseSelection(args ...string) (*selection, error) {
	s := &selection{}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.addFlags(flags)
	return s, flags.Parse(args)
}

type counter int

func (c *counter) Event(*session.Event) { *c++ }

func TestSelectionFlags(t *testing.T) {
	s, err := parseSelection("--address", "192.0.2.7,2001:db8::9/32", "--port", "443", "--port", "25", "--server-name", "*.example", "--flow", "2,3")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Nets) != 2 || s.Nets[1].String() != "2001:db8::/32" || len(s.Ports) != 2 || s.ClientSubject != nil {
		t.Errorf("%+v", s)
	}
	var n counter
	h := s.handler(&n)
	for id := range uint64(5) {
		h.Event(&session.Event{Flow: &session.Flow{ID: id}})
	}
	if n != 2 {
		t.Errorf("%d of 2 flows", n)
	}
	for _, args := range [][]string{{"--flow", "x"}, {"--address", "x"}, {"--port", "70000"}, {"--server-name", "[a"}} {
		if _, err := parseSelection(args...); err == nil {
			t.Errorf("%v: accepted", args)
		}
	}
}

func TestClientSubject(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Alice", Organization: []string{"Acme"}}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"cn=alice": true, "LIC": true, "bob": false, "bob,alice": false, "alice,o=acme": true} {
		s, err := parseSelection("--client-subject", "Nobody", "--client-subject", text)
		if err != nil {
			t.Fatal(err)
		}
		if s.ClientSubject(der) != want {
			t.Errorf("%s: %v", text, !want)
		}
		if s.ClientSubject([]byte("no certificate")) {
			t.Error("what is no certificate has a subject")
		}
	}
}
