// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"bytes"
	"testing"
)

func TestClientKeyExchangeRSA(t *testing.T) {
	odd := bytes.Repeat([]byte{0xc3}, 125) // a modulus of 1000 bits
	looksPrefixed := append([]byte{0x00, 0x80}, bytes.Repeat([]byte{0xc3}, 126)...)
	for _, test := range []struct {
		name string
		v    Version
		body []byte
		want []byte // nil: refused
	}{
		{"TLS", TLS12, build(vec16(sampleSecret...)), sampleSecret},
		{"TLS, odd modulus", TLS10, build(vec16(odd...)), odd},
		{"TLS without length", TLS10, sampleSecret, sampleSecret},
		{"TLS without length, odd modulus", TLS10, odd, nil},
		{"TLS cut short", TLS10, build(vec16(sampleSecret...))[:130], nil},
		{"TLS with a length of another modulus", TLS10, looksPrefixed, nil},
		{"TLS with trailing data", TLS10, append(build(vec16(sampleSecret...)), 0), nil},
		{"TLS empty", TLS10, nil, nil},
		{"TLS empty secret", TLS10, []byte{0, 0}, nil},
		{"SSL 3.0", SSL30, sampleSecret, sampleSecret},
		{"SSL 3.0, odd modulus", SSL30, odd, odd},
		{"SSL 3.0 with length", SSL30, build(vec16(sampleSecret...)), sampleSecret},
		{"SSL 3.0 that begins like a length", SSL30, looksPrefixed, looksPrefixed},
		{"SSL 3.0 empty", SSL30, nil, nil},
	} {
		got, err := ParseClientKeyExchangeRSA(message(TypeClientKeyExchange, raw(test.body...)), test.v)
		if (err == nil) != (test.want != nil) || !bytes.Equal(got, test.want) {
			t.Errorf("%s: got %x, %v", test.name, got, err)
		}
	}
}

func TestRSAParams(t *testing.T) {
	m, err := ParseServerKeyExchangeRSAExport(message(TypeServerKeyExchange, seq(vec16(9, 9), vec16(1, 0, 1), vec16(7))))
	if err != nil || len(m.Modulus) != 2 || !bytes.Equal(m.Exponent, []byte{1, 0, 1}) || !bytes.Equal(m.Signature, []byte{7}) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestNewSessionTicketFields(t *testing.T) {
	m, err := ParseNewSessionTicket(message(TypeNewSessionTicket, seq(raw(0, 0, 0x1c, 0x20), vec16(1, 2))))
	if err != nil || m.Lifetime != 7200 || !bytes.Equal(m.Ticket, []byte{1, 2}) {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = ParseNewSessionTicket13(message(TypeNewSessionTicket,
		seq(raw(0, 0, 0x1c, 0x20, 0, 0, 0, 5), vec8(6), vec16(1, 2), within16(ext(42, raw(0, 0, 0, 9))))))
	if err != nil || m.Lifetime != 7200 || m.AgeAdd != 5 || !bytes.Equal(m.Nonce, []byte{6}) ||
		!bytes.Equal(m.Ticket, []byte{1, 2}) || len(m.Extensions) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	empty := message(TypeNewSessionTicket, seq(raw(make([]byte, 8)...), vec8(6), vec16(), within16()))
	if _, err := ParseNewSessionTicket13(empty); err == nil {
		t.Error("parsed an empty ticket of TLS 1.3")
	}
}

func TestNextProtocolAndKeyUpdate(t *testing.T) {
	p, err := ParseNextProtocol(message(TypeNextProtocol, seq(vec8([]byte("spdy/3")...), vec8(make([]byte, 24)...))))
	if err != nil || p.Protocol != "spdy/3" {
		t.Errorf("%+v, %v", p, err)
	}
	for value, want := range []bool{false, true} {
		k, err := ParseKeyUpdate(message(TypeKeyUpdate, raw(byte(value))))
		if err != nil || k.UpdateRequested != want {
			t.Errorf("%+v, %v", k, err)
		}
	}
	if _, err := ParseKeyUpdate(message(TypeKeyUpdate, raw(2))); err == nil {
		t.Error("parsed a KeyUpdate of 2")
	}
}
