// SPDX-License-Identifier: Apache-2.0

package handshake

import "testing"

func TestNames(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{TypeClientHello.String(), "ClientHello"},
		{MessageType(99).String(), "message(99)"},
		{ContentApplicationData.String(), "application_data"},
		{ContentType(99).String(), "content(99)"},
		{ExtServerName.String(), "server_name"},
		{ExtensionType(0xfafa).String(), "GREASE(0xfafa)"},
		{ExtensionType(999).String(), "extension(999)"},
		{Alert{Fatal, AlertIllegalParameter}.String(), "fatal illegal_parameter (47)"},
		{Alert{Warning, AlertCloseNotify}.String(), "warning close_notify (0)"},
		{Alert{3, 200}.String(), "level(3) unknown (200)"},
		{AlertDescription(200).String(), "alert(200)"},
		{AlertNoCertificate.String(), "no_certificate"},
		{Client.Opposite().String(), "server"},
		{TLS12.String(), "TLS 1.2"},
		{Version(0x7f1c).String(), "version 0x7f1c"},
		{Maybe.String(), "maybe"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

func TestGREASE(t *testing.T) {
	n := 0
	for v := range 1 << 16 {
		if IsGREASE(uint16(v)) {
			n++
		}
	}
	if n != 16 || !IsGREASE(0x0a0a) || !IsGREASE(0xfafa) || IsGREASE(0x0a1a) {
		t.Errorf("%d GREASE values", n)
	}
}
