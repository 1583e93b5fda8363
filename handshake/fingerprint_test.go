// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"strings"
	"testing"
)

// ofTypes returns extensions without data.
func ofTypes(types ...ExtensionType) (exts []Extension) {
	for _, t := range types {
		exts = append(exts, Extension{Type: t})
	}
	return exts
}

func TestJA3(t *testing.T) {
	for _, test := range []struct {
		hello        ClientHello
		text, digest string
	}{
		// The examples of JA3's own description.
		{ClientHello{
			Version:      TLS10,
			CipherSuites: []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
			Extensions:   ofTypes(0, 10, 11), SupportedGroups: []uint16{23, 24, 25}, PointFormats: []byte{0},
		}, "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", "ada70206e40642a3e4461f35503241d5"},
		{ClientHello{
			Version: TLS10, CipherSuites: []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99},
		}, "769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6"},
		// Reserved values leave no trace.
		{ClientHello{
			Version: TLS10, CipherSuites: []uint16{0x0a0a, 47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
			Extensions: ofTypes(0x1a1a, 0, 10, 11, 0xfafa), SupportedGroups: []uint16{0x2a2a, 23, 24, 25}, PointFormats: []byte{0},
		}, "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", "ada70206e40642a3e4461f35503241d5"},
		{ClientHello{V2: true, Version: TLS10, CipherSuites: []uint16{4}}, "", ""},
	} {
		if got := test.hello.JA3String(); got != test.text {
			t.Errorf("text %q, want %q", got, test.text)
		}
		if got := test.hello.JA3(); got != test.digest {
			t.Errorf("%s: digest %s, want %s", test.text, got, test.digest)
		}
	}
}

func TestJA3S(t *testing.T) {
	h := ServerHello{Version: TLS12, CipherSuite: 156, Extensions: ofTypes(0xff01, 35, 23)}
	if got := h.JA3SString(); got != "771,156,65281-35-23" {
		t.Errorf("text %q", got)
	}
	if got := h.JA3S(); got != "110000ad915ab9299cb0e19279cb104c" { // as tshark shows it
		t.Errorf("digest %s", got)
	}
}

// chrome is the example of JA4's technical details.
func chrome() ClientHello {
	return ClientHello{
		Version: TLS12, SupportedVersions: []Version{0x6a6a, TLS13, TLS12}, ALPN: []string{"h2", "http/1.1"},
		CipherSuites: []uint16{0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
			0xc014, 0x009c, 0x009d, 0x002f, 0x0035},
		Extensions: ofTypes(0x7a7a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012,
			0x002b, 0xff01, 0x000b, 0x000a, 0x0015),
		SignatureAlgorithms: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
	}
}

func TestJA4(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*ClientHello)
		want   string
	}{
		{"example", func(*ClientHello) {}, "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"no signature algorithms", func(h *ClientHello) { h.SignatureAlgorithms = nil }, "t13d1516h2_8daaf6152771_6d807ffa2a79"},
		{"no name", func(h *ClientHello) { h.Extensions = append(h.Extensions[:2:2], h.Extensions[3:]...) }, "t13i1515h2_8daaf6152771_e5627efa2ab1"},
		{"legacy version", func(h *ClientHello) { h.SupportedVersions = nil }, "t12d1516h2_8daaf6152771_e5627efa2ab1"},
		{"draft version", func(h *ClientHello) { h.SupportedVersions = []Version{0x7f1c, TLS13} }, "t00d1516h2_8daaf6152771_e5627efa2ab1"},
		{"empty", func(h *ClientHello) { *h = ClientHello{Version: SSL30} }, "ts3i000000_000000000000_000000000000"},
		{"SSLv2-compatible", func(h *ClientHello) { h.V2 = true }, ""},
	} {
		h := chrome()
		test.change(&h)
		if got := h.JA4(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestJA4Protocol(t *testing.T) {
	// The examples of JA4's technical details.
	for protocol, want := range map[string]string{
		"h2": "h2", "http/1.1": "h1", "a": "aa", "": "00", "\xab": "ab", "\xab\xcd": "ad", "0\xab": "3b",
		"01\xab\xcd": "3d", "0\xab\xcd1": "01",
	} {
		h := ClientHello{Version: TLS12, ALPN: []string{protocol}}
		if got := h.JA4()[8:10]; got != want {
			t.Errorf("%q: %s, want %s", protocol, got, want)
		}
	}
}

func TestJA4Counts(t *testing.T) {
	h := ClientHello{Version: TLS11}
	for i := range 120 {
		h.CipherSuites = append(h.CipherSuites, uint16(i))
	}
	if got := h.JA4(); !strings.HasPrefix(got, "t11i990000_") {
		t.Error(got)
	}
}

func BenchmarkParseClientHello(b *testing.B) {
	msg := clientHello(TLS12, allClientExtensions...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseClientHello(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFingerprints(b *testing.B) {
	h := chrome()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = h.JA3(), h.JA4()
	}
}
