// SPDX-License-Identifier: Apache-2.0

package keylog

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

var (
	hex8   = strings.Repeat("0a", 8)
	hex32  = strings.Repeat("0b", 32)
	hex48  = strings.Repeat("0c", 48)
	hex256 = strings.Repeat("0d", 256)
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		line       string
		label      Label
		id, secret int
	}{
		{"RSA " + hex8 + " " + hex48, RSA, 8, 48},
		{"RSA Session-ID:" + hex32 + " Master-Key:" + hex48, RSASessionID, 32, 48},
		{"RSA Session-ID:01 Master-Key:" + hex48, RSASessionID, 1, 48},
		{"CLIENT_RANDOM " + hex32 + " " + hex48, ClientRandom, 32, 48},
		{"CLIENT_RANDOM " + strings.ToUpper(hex32+" "+hex48) + "\r\n", ClientRandom, 32, 48},
		{"  CLIENT_RANDOM\t" + hex32 + "  " + hex48 + " ", ClientRandom, 32, 48},
		{"\xef\xbb\xbfCLIENT_RANDOM " + hex32 + " " + hex48, ClientRandom, 32, 48},
		{"PMS_CLIENT_RANDOM " + hex32 + " " + hex256, PMSClientRandom, 32, 256},
		{"CLIENT_EARLY_TRAFFIC_SECRET " + hex32 + " " + hex32, ClientEarlyTraffic, 32, 32},
		{"CLIENT_HANDSHAKE_TRAFFIC_SECRET " + hex32 + " " + hex48, ClientHandshakeTraffic, 32, 48},
		{"SERVER_HANDSHAKE_TRAFFIC_SECRET " + hex32 + " " + hex32, ServerHandshakeTraffic, 32, 32},
		{"CLIENT_TRAFFIC_SECRET_0 " + hex32 + " " + hex48, ClientTraffic, 32, 48},
		{"SERVER_TRAFFIC_SECRET_0 " + hex32 + " " + hex48, ServerTraffic, 32, 48},
		{"EARLY_EXPORTER_SECRET " + hex32 + " " + hex48, EarlyExporter, 32, 48},
		{"EXPORTER_SECRET " + hex32 + " " + hex48, Exporter, 32, 48},
		{"ECH_SECRET " + hex32 + " " + hex32, ECHSecret, 32, 32},
		{"ECH_CONFIG " + hex32 + " " + hex256, ECHConfig, 32, 256},
	} {
		l, err := Parse([]byte(test.line))
		if err != nil || l.Label != test.label || len(l.ID) != test.id || len(l.Secret) != test.secret {
			t.Errorf("%q: %v, error %v", test.line, l, err)
			continue
		}
		again, err := Parse(l.AppendTo(nil))
		if err != nil || again.Label != l.Label || !bytes.Equal(again.ID, l.ID) || !bytes.Equal(again.Secret, l.Secret) {
			t.Errorf("%q: written and read again it is %v, error %v", test.line, again, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range []struct {
		line string
		want error // nil: any other error
	}{
		{"", ErrBlank}, {"\r\n", ErrBlank}, {"# CLIENT_RANDOM 00 00", ErrBlank}, {"   # x", ErrBlank},
		{"QUIC_CLIENT_TRAFFIC_SECRET_0 " + hex32 + " " + hex32, ErrUnknownLabel},
		{"client_random " + hex32 + " " + hex48, ErrUnknownLabel},
		{"CLIENT_RANDOM", nil},
		{"CLIENT_RANDOM " + hex32, nil},
		{"CLIENT_RANDOM " + hex32 + " " + hex48 + " x", nil},
		{"CLIENT_RANDOM " + hex32 + " " + hex32, nil},
		{"CLIENT_RANDOM " + hex32 + " " + hex48[:94], nil},
		{"CLIENT_RANDOM " + hex32 + " " + hex48[:95], nil},
		{"CLIENT_RANDOM " + hex32 + " " + hex48 + "00", nil},
		{"CLIENT_RANDOM " + hex8 + " " + hex48, nil},
		{"CLIENT_RANDOM " + hex32 + " " + strings.Repeat("xy", 48), nil},
		{"CLIENT_RANDOM " + strings.Repeat("xy", 32) + " " + hex48, nil},
		{"CLIENT_TRAFFIC_SECRET_0 " + hex32 + " " + hex48[:80], nil},
		{"RSA " + hex32 + " " + hex48, nil},
		{"RSA Session-ID: Master-Key:" + hex48, nil},
		{"RSA Session-ID:" + hex48 + " Master-Key:" + hex48, nil},
		{"RSA Session-ID:" + hex32 + " " + hex48, nil},
		{"RSA Session-ID " + hex32 + " " + hex48, nil},
		{"PMS_CLIENT_RANDOM " + hex32 + " " + strings.Repeat("00", maxSecretLen+1), nil},
	} {
		l, err := Parse([]byte(test.line))
		if err == nil || test.want != nil && !errors.Is(err, test.want) ||
			test.want == nil && (errors.Is(err, ErrBlank) || errors.Is(err, ErrUnknownLabel)) {
			t.Errorf("%q: %v, error %v", test.line, l, err)
		}
		if err != nil && strings.Contains(err.Error(), "0c0c") {
			t.Errorf("the error quotes a secret: %v", err)
		}
	}
}

func TestFormat(t *testing.T) {
	random := handshake.Random{1, 2}
	if got, want := string(FormatClientRandom(random, []byte{0xab})), "CLIENT_RANDOM 0102"+strings.Repeat("00", 30)+" ab\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := string(FormatSecret13(ClientTraffic, random, []byte{0xab})), "CLIENT_TRAFFIC_SECRET_0 0102"+strings.Repeat("00", 30)+" ab\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := string(Line{RSASessionID, []byte{1}, []byte{2}}.AppendTo([]byte("x"))), "xRSA Session-ID:01 Master-Key:02\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Printing a line or an index shows no secret.
func TestNothingPrintsSecrets(t *testing.T) {
	secret := []byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL")
	l := Line{ClientRandom, make([]byte, 32), secret}
	s := NewSecrets(0)
	s.Add(l)
	for _, v := range []any{l, &l, []Line{l}, struct{ L Line }{l}, s, &Follower{secrets: s, partial: secret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			out := fmt.Sprintf(verb, v)
			for _, needle := range []string{string(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint(secret)[1:40], fmt.Sprintf("%#v", secret)[8:60]} {
				if strings.Contains(out, needle) {
					t.Errorf("%T with %s prints a secret", v, verb)
				}
			}
		}
	}
}

// What is read is written as the same line but for its spaces and capitals, and read again as the
// same; what is not read is no error with the line in it.
func FuzzParse(f *testing.F) {
	f.Add([]byte("CLIENT_RANDOM " + hex32 + " " + hex48 + "\n"))
	f.Add([]byte("RSA Session-ID:" + hex32 + " Master-Key:" + hex48))
	f.Add([]byte("RSA " + hex8 + " " + hex48))
	f.Add([]byte("# comment"))
	f.Fuzz(func(t *testing.T, line []byte) {
		l, err := Parse(line)
		if err != nil {
			if len(err.Error()) > 100 {
				t.Fatalf("error %q", err)
			}
			return
		}
		written := l.AppendTo(nil)
		again, err := Parse(written)
		if err != nil || again.Label != l.Label || !bytes.Equal(again.ID, l.ID) || !bytes.Equal(again.Secret, l.Secret) {
			t.Fatalf("another line, error %v", err)
		}
		canonical := bytes.ToLower(bytes.Join(bytes.Fields(bytes.TrimPrefix(line, utf8BOM)), []byte(" ")))
		if !bytes.Equal(bytes.ToLower(bytes.TrimSpace(written)), canonical) {
			t.Fatalf("%q was written as %q", line, written)
		}
		s := NewSecrets(1)
		if !s.Add(l) {
			t.Fatal("not taken into the index")
		}
	})
}
