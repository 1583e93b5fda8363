// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"reflect"
	"strings"
	"testing"
)

func TestServerHelloFields(t *testing.T) {
	msg := serverHello(TLS12, sampleRandom, serverExtensions...)
	got, err := ParseServerHello(msg)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Extensions) != len(serverExtensions) {
		t.Errorf("Extensions: %v", got.Extensions)
	}
	want := &ServerHello{
		Raw: msg.Raw, Version: TLS12, Random: sampleRandom, SessionID: sampleID, CipherSuite: 0x2f, Compression: 1,
		Extensions: got.Extensions, ALPN: "h2", NPN: true, NextProtocols: []string{"spdy/3", "h2"},
		SessionTicket: true, ExtendedMasterSecret: true, EncryptThenMAC: true, StatusRequest: true,
		MaxFragmentLength: 3, RecordSizeLimit: 512, ServerCertificateType: 2,
		SecureRenegotiation: true, RenegotiationInfo: []byte{1, 2, 3},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if v := got.SelectedVersion(); v != TLS12 {
		t.Errorf("SelectedVersion: %v", v)
	}
}

func TestServerHello13(t *testing.T) {
	for _, test := range []struct {
		name  string
		msg   Message
		retry bool
		group uint16
		psk   bool
	}{
		{"ServerHello", serverHello(TLS12, sampleRandom, ext(ExtSupportedVersions, raw(3, 4)),
			ext(ExtKeyShare, raw(0, 29), vec16(1)), ext(ExtPreSharedKey, raw(0, 7))), false, 29, true},
		{"HelloRetryRequest", serverHello(TLS12, helloRetryRandom, ext(ExtSupportedVersions, raw(3, 4)),
			ext(ExtKeyShare, raw(0, 24))), true, 24, false},
	} {
		h, err := ParseServerHello(test.msg)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if h.SelectedVersion() != TLS13 || h.Version != TLS12 || h.IsHelloRetryRequest != test.retry ||
			h.KeyShareGroup != test.group || h.HasSelectedPSK != test.psk || test.psk != (h.SelectedPSK == 7) {
			t.Errorf("%s: %+v", test.name, h)
		}
	}
}

func TestServerHelloRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		msg  Message
		want string
	}{
		{"long session ID", message(TypeServerHello, seq(raw(3, 3), raw(sampleRandom[:]...),
			vec8(make([]byte, 33)...), raw(0, 0x2f, 0))), "session ID"},
		{"two protocols", serverHello(TLS12, sampleRandom, ext(ExtALPN, within16(vec8(1), vec8(2)))), "application_layer"},
		{"no protocol", serverHello(TLS12, sampleRandom, ext(ExtALPN, within16())), "application_layer"},
		{"group alone", serverHello(TLS12, sampleRandom, ext(ExtKeyShare, raw(0, 29))), "key_share"},
		{"share in a retry", serverHello(TLS12, helloRetryRandom, ext(ExtKeyShare, raw(0, 29), vec16(1))), "key_share"},
		{"version zero", serverHello(TLS12, sampleRandom, ext(ExtSupportedVersions, raw(0, 0))), "supported_versions"},
		{"ticket in the hello", serverHello(TLS12, sampleRandom, ext(ExtSessionTicket, raw(1))), "session_ticket"},
		{"extension twice", serverHello(TLS12, sampleRandom, ext(1, raw(1)), ext(1, raw(1))), "extensions"},
	} {
		_, err := ParseServerHello(test.msg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one about %q", test.name, err, test.want)
		}
	}
}

func TestEncryptedExtensionsFields(t *testing.T) {
	msg := message(TypeEncryptedExtensions, within16(
		ext(ExtALPN, within16(vec8([]byte("h3")...))), ext(ExtEarlyData), ext(ExtRecordSizeLimit, raw(1, 0)),
	))
	m, err := ParseEncryptedExtensions(msg)
	if err != nil {
		t.Fatal(err)
	}
	if m.ALPN != "h3" || !m.EarlyData || m.RecordSizeLimit != 256 || len(m.Extensions) != 3 {
		t.Errorf("%+v", m)
	}
	bad := message(TypeEncryptedExtensions, within16(ext(ExtEarlyData, raw(0))))
	if _, err := ParseEncryptedExtensions(bad); err == nil {
		t.Error("parsed early_data with data")
	}
}

func TestManyExtensions(t *testing.T) {
	exts := serverExtensions[:0:0]
	for i := range 16000 { // as many as a block can hold, nearly
		exts = append(exts, ext(ExtensionType(1000+i)))
	}
	h, err := ParseServerHello(serverHello(TLS12, sampleRandom, exts...))
	if err != nil || len(h.Extensions) != 16000 {
		t.Fatal(err)
	}
	exts[1] = ext(1000 + 15999)
	if _, err := ParseServerHello(serverHello(TLS12, sampleRandom, exts...)); err == nil {
		t.Error("parsed a repeated extension among many")
	}
}
