// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"bytes"
	"reflect"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

func TestCertificateFields(t *testing.T) {
	chain := [][]byte{{0x30, 0}, {0x30, 1, 5}}
	msg := message(TypeCertificate, within24(vec24(chain[0]...), vec24(chain[1]...)))
	m, err := ParseCertificate(msg)
	if err != nil || !reflect.DeepEqual(m, &Certificate{Raw: msg.Raw, Chain: chain}) {
		t.Errorf("%+v, %v", m, err)
	}
	msg = message(TypeCertificate, seq(vec8(1, 2), within24(
		vec24(chain[0]...), within16(ext(18, raw(1)), staple), vec24(chain[1]...), within16(staple),
	)))
	m, err = ParseCertificate13(msg)
	want := &Certificate{Raw: msg.Raw, Context: []byte{1, 2}, Chain: chain, OCSP: []byte{0x30, 3}}
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestCertificateRefused(t *testing.T) {
	bad := ext(ExtStatusRequest, raw(2), vec24(0x30))
	for name, msg := range map[string]Message{
		"empty entry":     message(TypeCertificate, within24(vec24())),
		"list too long":   message(TypeCertificate, raw(0, 0, 9, 0, 0, 1, 0x30)),
		"entry too long":  message(TypeCertificate, within24(raw(0, 0, 9, 0x30))),
		"1.3 bad staple":  message(TypeCertificate, seq(vec8(), within24(vec24(0x30), within16(bad)))),
		"1.3 empty entry": message(TypeCertificate, seq(vec8(), within24(vec24(), within16()))),
	} {
		if _, err := ParseCertificate(msg); err == nil {
			t.Errorf("%s: parsed", name)
		}
		if _, err := ParseCertificate13(msg); err == nil {
			t.Errorf("%s: parsed as 1.3", name)
		}
	}
}

func TestChainIsBounded(t *testing.T) {
	chain := func(n int) Message {
		return message(TypeCertificate, within24(func(b *cryptobyte.Builder) {
			for range n {
				vec24(0x30)(b)
			}
		}))
	}
	if m, err := ParseCertificate(chain(maxChain)); err != nil || len(m.Chain) != maxChain {
		t.Error(err)
	}
	if _, err := ParseCertificate(chain(maxChain + 1)); err == nil {
		t.Error("parsed a chain that is too long")
	}
}

func TestCertificateStatusFields(t *testing.T) {
	m, err := ParseCertificateStatus(message(TypeCertificateStatus, seq(raw(2), within24(vec24(7), vec24(), vec24(8)))))
	if err != nil || !reflect.DeepEqual(m.Responses, [][]byte{{7}, {}, {8}}) {
		t.Errorf("%+v, %v", m, err)
	}
	for name, body := range map[string]func(b *cryptobyte.Builder){
		"unknown type":   seq(raw(3), vec24(1)),
		"empty response": seq(raw(1), vec24()),
		"empty list":     seq(raw(2), within24()),
	} {
		if _, err := ParseCertificateStatus(message(TypeCertificateStatus, body)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func TestCertificateRequestFields(t *testing.T) {
	names := [][]byte{{0x30, 0}, {0x30, 1, 2}}
	for _, test := range []struct {
		v    Version
		body func(b *cryptobyte.Builder)
		want CertificateRequest
	}{
		{SSL30, seq(vec8(1, 2), authorities), CertificateRequest{Types: []byte{1, 2}, Authorities: names}},
		{TLS11, seq(vec8(1), within16()), CertificateRequest{Types: []byte{1}}},
		{TLS12, seq(vec8(1), vec16(4, 1), authorities),
			CertificateRequest{Types: []byte{1}, SignatureAlgorithms: []uint16{0x0401}, Authorities: names}},
		{TLS13, seq(vec8(9), within16(ext(ExtSignatureAlgorithms, vec16(8, 4)), ext(ExtCertificateAuthorities, authorities))),
			CertificateRequest{Context: []byte{9}, SignatureAlgorithms: []uint16{0x0804}, Authorities: names}},
	} {
		msg := message(TypeCertificateRequest, test.body)
		m, err := ParseCertificateRequest(msg, test.v)
		if err != nil {
			t.Fatalf("%v: %v", test.v, err)
		}
		test.want.Raw, test.want.Extensions = msg.Raw, m.Extensions
		if !reflect.DeepEqual(m, &test.want) {
			t.Errorf("%v: got %+v, want %+v", test.v, m, &test.want)
		}
	}
	for name, body := range map[string]func(b *cryptobyte.Builder){
		"no types":   seq(vec8(), vec16(4, 1), within16()),
		"half alg":   seq(vec8(1), vec16(4), within16()),
		"empty name": seq(vec8(1), vec16(4, 1), within16(vec16())),
	} {
		if _, err := ParseCertificateRequest(message(TypeCertificateRequest, body), TLS12); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func TestCertificateVerifyFields(t *testing.T) {
	m, err := ParseCertificateVerify(message(TypeCertificateVerify, seq(raw(8, 4), vec16(1, 2))), TLS12)
	if err != nil || m.SignatureAlgorithm != 0x0804 || !bytes.Equal(m.Signature, []byte{1, 2}) {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = ParseCertificateVerify(message(TypeCertificateVerify, vec16(1, 2)), TLS11)
	if err != nil || m.SignatureAlgorithm != 0 || !bytes.Equal(m.Signature, []byte{1, 2}) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestCompressedCertificateFields(t *testing.T) {
	m, err := ParseCompressedCertificate(message(TypeCompressedCertificate, seq(raw(0, 2, 1, 0, 0), vec24(1, 2))))
	if err != nil || m.Algorithm != 2 || m.Uncompressed != 1<<16 || !bytes.Equal(m.Data, []byte{1, 2}) {
		t.Errorf("%+v, %v", m, err)
	}
}
