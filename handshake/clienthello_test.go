// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

func TestClientHelloFields(t *testing.T) {
	msg := clientHello(TLS12, allClientExtensions...)
	got, err := ParseClientHello(msg)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Extensions) != len(allClientExtensions) || got.Extensions[0].Type != 0x1a1a {
		t.Errorf("Extensions: %v", got.Extensions)
	}
	want := &ClientHello{
		Raw: msg.Raw, Version: TLS12, Random: sampleRandom, SessionID: sampleID,
		CipherSuites: []uint16{0x0a0a, 0x009c, 0x002f, 0x00ff, 0x5600}, Compressions: []byte{1, 0},
		Extensions: got.Extensions, ServerName: "example.com", ALPN: []string{"h2", "http/1.1"},
		SupportedVersions: []Version{0x3a3a, TLS13, TLS12}, SupportedGroups: []uint16{0x2a2a, 29, 23},
		PointFormats: []byte{0, 1}, SignatureAlgorithms: []uint16{0x0403, 0x0804},
		SessionTicket: []byte{9, 8, 7}, HasSessionTicket: true, ExtendedMasterSecret: true,
		EncryptThenMAC: true, StatusRequest: true, EarlyData: true, NPN: true, MaxFragmentLength: 2,
		RecordSizeLimit: 0x4001, PSKIdentities: [][]byte{{1, 2, 3}, {4}},
		SecureRenegotiation: true, RenegotiationInfo: []byte{5, 6}, Fallback: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if v := got.MaxVersion(); v != TLS13 {
		t.Errorf("MaxVersion: %v", v)
	}
}

func TestClientHelloWithoutExtensions(t *testing.T) {
	for _, v := range []Version{SSL30, TLS10, TLS11, TLS12} {
		h, err := ParseClientHello(clientHello(v))
		if err != nil {
			t.Fatal(err)
		}
		if h.Extensions != nil || h.MaxVersion() != v || !h.SecureRenegotiation || h.HasSessionTicket {
			t.Errorf("%v: %+v", v, h)
		}
	}
	h, err := ParseClientHello(clientHello(TLS12, seq()))
	if err != nil || h.Extensions == nil {
		t.Errorf("an empty block of extensions: %v, %v", h, err)
	}
}

func TestClientHelloRefused(t *testing.T) {
	type part = func(b *cryptobyte.Builder)
	hello := func(id, suites, compressions part) Message {
		return message(TypeClientHello, seq(raw(3, 3), raw(sampleRandom[:]...), id, suites, compressions))
	}
	suites, null := vec16(0, 0x2f), vec8(0)
	name := vec16([]byte("a")...)
	tests := []struct {
		name string
		msg  Message
		want string
	}{
		{"long session ID", hello(vec8(make([]byte, 33)...), suites, null), "session ID"},
		{"no suites", hello(vec8(), vec16(), null), "cipher suites"},
		{"half a suite", hello(vec8(), vec16(0, 0x2f, 0), null), "cipher suites"},
		{"no compressions", hello(vec8(), suites, vec8()), "compression"},
		{"extension twice", clientHello(TLS12, ext(23), ext(22), ext(23)), "extensions"},
		{"unknown extension twice", clientHello(TLS12, ext(999), ext(999)), "extensions"},
		{"empty name list", clientHello(TLS12, ext(ExtServerName, vec16())), "server_name"},
		{"two names", clientHello(TLS12, ext(ExtServerName, within16(raw(0), name, raw(0), name))), "server_name"},
		{"after the name list", clientHello(TLS12, ext(ExtServerName, within16(raw(0), name), raw(0))), "server_name"},
		{"empty protocol", clientHello(TLS12, ext(ExtALPN, within16(vec8()))), "application_layer"},
		{"half a group", clientHello(TLS12, ext(ExtSupportedGroups, vec16(0, 29, 0))), "supported_groups"},
		{"half a version", clientHello(TLS12, ext(ExtSupportedVersions, vec8(3))), "supported_versions"},
		{"EMS with data", clientHello(TLS12, ext(ExtExtendedMasterSecret, raw(1))), "extended_master_secret"},
		{"EtM with data", clientHello(TLS12, ext(ExtEncryptThenMAC, raw(1))), "encrypt_then_mac"},
		{"PSK not last", clientHello(TLS12, allClientExtensions[len(allClientExtensions)-1], ext(23)), "pre_shared_key"},
		{"PSK without binder", clientHello(TLS12, ext(ExtPreSharedKey, within16(vec16(1), raw(0, 0, 0, 0)), within16())), "pre_shared_key"},
		{"PSK with a binder too many", clientHello(TLS12, ext(ExtPreSharedKey,
			within16(vec16(1), raw(0, 0, 0, 0)), within16(vec8(1), vec8(2)))), "pre_shared_key"},
		{"tiny record size limit", clientHello(TLS12, ext(ExtRecordSizeLimit, raw(0, 63))), "record_size_limit"},
		{"renegotiation info", clientHello(TLS12, ext(ExtRenegotiationInfo, raw(2, 1))), "renegotiation_info"},
	}
	for _, test := range tests {
		_, err := ParseClientHello(test.msg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one about %q", test.name, err, test.want)
		}
	}
}

func TestMaxVersion(t *testing.T) {
	for _, test := range []struct {
		offered []Version
		want    Version
	}{
		{nil, TLS12},
		{[]Version{0x0a0a}, TLS12},
		{[]Version{0x7f1c}, TLS12},
		{[]Version{TLS11, 0xfafa, TLS13, 0x7f1c, TLS12}, TLS13},
		{[]Version{TLS10}, TLS10},
	} {
		h := ClientHello{Version: TLS12, SupportedVersions: test.offered}
		if got := h.MaxVersion(); got != test.want {
			t.Errorf("%v: %v, want %v", test.offered, got, test.want)
		}
	}
}

// v2Hello returns an SSLv2-compatible CLIENT-HELLO with its length.
func v2Hello(v Version, specs, id, challenge []byte) []byte {
	body := build(func(b *cryptobyte.Builder) {
		b.AddUint8(v2ClientHello)
		b.AddUint16(uint16(v))
		b.AddUint16(uint16(len(specs)))
		b.AddUint16(uint16(len(id)))
		b.AddUint16(uint16(len(challenge)))
		seq(raw(specs...), raw(id...), raw(challenge...))(b)
	})
	return append([]byte{0x80 | byte(len(body)>>8), byte(len(body))}, body...)
}

var v2Specs = []byte{0, 0, 0x39, 7, 0, 0xc0, 0, 0, 0x2f, 0, 0, 0xff}

func TestV2ClientHello(t *testing.T) {
	challenge := bytes.Repeat([]byte{0xc4}, 16)
	record := v2Hello(TLS10, v2Specs, sampleID[:16], challenge)
	h, n, err := ParseV2ClientHello(append(record, 1, 2, 3))
	if err != nil || n != len(record) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	want := &ClientHello{
		Raw: record[2:], V2: true, Version: TLS10, SessionID: sampleID[:16],
		CipherSuites: []uint16{0x39, 0x2f, 0xff}, Compressions: []byte{0}, SecureRenegotiation: true,
	}
	copy(want.Random[16:], challenge)
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got  %+v\nwant %+v", h, want)
	}
	if h.JA3() != "" || h.JA4() != "" {
		t.Error("a V2 hello has fingerprints")
	}
	for n := range len(record) {
		_, need, err := ParseV2ClientHello(record[:n])
		if err != ErrIncomplete || need <= n || need > len(record) {
			t.Errorf("%d bytes: need %d, %v", n, need, err)
		}
	}
}

func TestV2ClientHelloRefused(t *testing.T) {
	challenge := make([]byte, 32)
	good := v2Hello(SSL30, v2Specs, nil, challenge)
	if _, _, err := ParseV2ClientHello(good); err != nil {
		t.Fatal(err)
	}
	longer := append([]byte{good[0], good[1] + 1}, append(good[2:len(good):len(good)], 0)...)
	padded := append([]byte{good[0] &^ 0x80, good[1]}, good[2:]...)
	tests := []struct {
		name   string
		record []byte
	}{
		{"no specs", v2Hello(SSL30, nil, nil, challenge)},
		{"half a spec", v2Hello(SSL30, v2Specs[:4], nil, challenge)},
		{"long session ID", v2Hello(SSL30, v2Specs, make([]byte, 33), challenge)},
		{"short challenge", v2Hello(SSL30, v2Specs, nil, challenge[:15])},
		{"long challenge", v2Hello(SSL30, v2Specs, nil, make([]byte, 33))},
		{"trailing byte", longer},
		{"padded header", padded},
		{"empty", []byte{0x80, 0}},
	}
	for _, test := range tests {
		if _, _, err := ParseV2ClientHello(test.record); err == nil || err == ErrIncomplete {
			t.Errorf("%s: error %v", test.name, err)
		}
		if m := LooksLikeClientHello(test.record); m != No {
			t.Errorf("%s: looks like a ClientHello: %v", test.name, m)
		}
	}
}
