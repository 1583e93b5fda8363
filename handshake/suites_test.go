// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"strings"
	"testing"
)

func TestSuiteTableIsSorted(t *testing.T) {
	for i := 1; i < len(suites); i++ {
		if suites[i-1].ID >= suites[i].ID {
			t.Errorf("%s (0x%04x) stands before 0x%04x", suites[i-1].Name, suites[i-1].ID, suites[i].ID)
		}
	}
}

// TestSuiteTableAgreesWithNames reads each row against its own name.
func TestSuiteTableAgreesWithNames(t *testing.T) {
	names := make(map[string]uint16)
	for i := range suites {
		s := &suites[i]
		if other, ok := names[s.Name]; ok && !strings.HasPrefix(s.Name, "SSL_RSA_FIPS_") {
			t.Errorf("%s: both 0x%04x and 0x%04x", s.Name, other, s.ID)
		}
		names[s.Name] = s.ID
		if got, ok := SuiteByID(s.ID); !ok || got != s {
			t.Errorf("%s: not found by its number", s.Name)
		}
		if s.Export != strings.Contains(s.Name, "_EXPORT") {
			t.Errorf("%s: Export = %v", s.Name, s.Export)
		}
		p := s.Cipher.Params()
		if (p.Kind == KindUnknown) != (s.Cipher == CipherUnknown) {
			t.Errorf("%s: cipher without sizes", s.Name)
		}
		if p.ExpandedKeyLen > p.KeyLen && !s.Export {
			t.Errorf("%s: an export cipher in a suite that is not", s.Name)
		}
		if p.Kind == KindAEAD && s.MAC != MACNULL {
			t.Errorf("%s: a MAC beside an AEAD", s.Name)
		}
		if want := strings.HasSuffix(s.Name, "_SHA384"); (s.PRF == SHA384) != want {
			t.Errorf("%s: PRF hash %v", s.Name, s.PRF)
		}
		if s.KeyExchange == KeyExchangeUnknown {
			t.Errorf("%s: no key exchange", s.Name)
		}
		if s.Cipher != CipherUnknown && s.ID>>8 != 0x13 {
			checkSuiteParts(t, s)
		}
	}
}

func checkSuiteParts(t *testing.T, s *Suite) {
	kx, rest, ok := strings.Cut(s.Name[4:], "_WITH_")
	if !ok {
		t.Fatalf("%s: no _WITH_", s.Name)
	}
	kx = strings.TrimSuffix(kx, "1024")
	if s.KeyExchange != KeyExchangeRSAExport {
		kx = strings.TrimSuffix(kx, "_EXPORT")
	}
	switch kx {
	case "RSA_FIPS":
		kx = "RSA"
	case "PSK_DHE": // so called in RFC 6655 alone
		kx = "DHE_PSK"
	}
	if kx != s.KeyExchange.String() {
		t.Errorf("%s: key exchange %v", s.Name, s.KeyExchange)
	}
	mac := map[string]MAC{"MD5": MACMD5, "SHA": MACSHA1, "SHA256": MACSHA256, "SHA384": MACSHA384}[rest[strings.LastIndexByte(rest, '_')+1:]]
	if s.Cipher.Params().Kind != KindAEAD && s.MAC != mac {
		t.Errorf("%s: MAC %d", s.Name, s.MAC)
	}
}

func TestSuiteName(t *testing.T) {
	for _, tt := range []struct {
		id   uint16
		want string
	}{
		{0x0000, "TLS_NULL_WITH_NULL_NULL"},
		{0x000A, "TLS_RSA_WITH_3DES_EDE_CBC_SHA"},
		{0x002F, "TLS_RSA_WITH_AES_128_CBC_SHA"},
		{0x00FF, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"},
		{0x1301, "TLS_AES_128_GCM_SHA256"},
		{0x5600, "TLS_FALLBACK_SCSV"},
		{0xC09C, "TLS_RSA_WITH_AES_128_CCM"},
		{0xCCA8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
		{0x0A0A, "0x0a0a"},
		{0xFFFF, "0xffff"},
	} {
		if got := SuiteName(tt.id); got != tt.want {
			t.Errorf("SuiteName(0x%04x) = %q, want %q", tt.id, got, tt.want)
		}
	}
	if _, ok := SuiteByID(EmptyRenegotiationInfoSCSV); ok {
		t.Error("a signalling value is a suite")
	}
}

// TestRSASuites pins every suite that the RSA key opens.
func TestRSASuites(t *testing.T) {
	n := 0
	for i := range suites {
		s := &suites[i]
		if s.Cipher != CipherUnknown && (s.KeyExchange == KeyExchangeRSA || s.KeyExchange == KeyExchangeRSAExport) {
			n++
			if !strings.Contains(s.Name, "_RSA_") {
				t.Errorf("%s has RSA key exchange", s.Name)
			}
		}
	}
	if n != 40 {
		t.Errorf("%d readable RSA suites", n)
	}
}
