// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// TestOffer reads back what is sent.
func TestOffer(t *testing.T) {
	offers := map[string]Offer{
		"rsa":      {Max: handshake.TLS12, Suites: RSASuites(), ServerName: "a.example"},
		"full":     {Max: handshake.TLS13, Suites: FullSuites(), ServerName: "a.example"},
		"modern":   {Max: handshake.TLS12, Suites: ModernSuites()},
		"tls10":    {Max: handshake.TLS10, Suites: []uint16{0x0035}},
		"no suite": {Max: handshake.TLS11},
	}
	for name, o := range offers {
		t.Run(name, func(t *testing.T) {
			rec, err := o.record()
			if err != nil {
				t.Fatal(err)
			}
			if len(o.Suites) > 0 && handshake.LooksLikeClientHello(rec) != handshake.Yes {
				t.Error("does not look like a ClientHello")
			}
			m, err := handshake.ParseMessage(rec[handshake.RecordHeaderLen:])
			if err != nil {
				t.Fatal(err)
			}
			if len(o.Suites) == 0 {
				return
			}
			h, err := handshake.ParseClientHello(m)
			if err != nil {
				t.Fatal(err)
			}
			if h.ServerName != o.ServerName || len(h.CipherSuites) != len(o.Suites) || !h.ExtendedMasterSecret ||
				(o.Max == handshake.TLS13) != (len(h.SupportedVersions) > 0) || h.Version != min(o.Max, handshake.TLS12) {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestSuiteLists(t *testing.T) {
	for _, id := range RSASuites() {
		s, ok := handshake.SuiteByID(id)
		if !ok || s.KeyExchange != handshake.KeyExchangeRSA {
			t.Errorf("%s", handshake.SuiteName(id))
		}
	}
	for _, id := range ModernSuites() {
		if s, ok := handshake.SuiteByID(id); !ok || s.KeyExchange == handshake.KeyExchangeRSA {
			t.Errorf("%s", handshake.SuiteName(id))
		}
	}
	if len(RSASuites()) < 20 {
		t.Errorf("only %d suites", len(RSASuites()))
	}
}

func TestReadFlight(t *testing.T) {
	alert := handshake.Alert{Level: handshake.Fatal, Description: handshake.AlertIllegalParameter}.AppendRecord(nil, handshake.TLS12)
	warning := handshake.Alert{Level: handshake.Warning, Description: 112}.AppendRecord(nil, handshake.TLS12)
	tests := []struct {
		name    string
		in      []byte
		refused bool
		alert   bool
		err     error
	}{
		{"nothing", nil, true, false, nil},
		{"alert", alert, true, true, nil},
		{"warning, then alert", append(warning, alert...), true, true, nil},
		{"half a record", alert[:6], true, false, nil},
		{"http", []byte("HTTP/1.1 400 Bad Request\r\n"), false, false, ErrNotTLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := readFlight(bytes.NewReader(tt.in))
			if !errors.Is(err, tt.err) {
				t.Fatal(err)
			}
			if err == nil && (a.Refused != tt.refused || (a.Alert != nil) != tt.alert) {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestStartTLS(t *testing.T) {
	longLDAP := append([]byte{0x30, 0x81, 0x0c, 0x02, 0x01, 0x01, 0x78, 0x07}, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00)
	tests := []struct {
		protocol, server string
		ok               bool
	}{
		{"", "", true},
		{"smtp", "220-mail.example\r\n220 ready\r\n250-mail.example\r\n250-STARTTLS\r\n250 HELP\r\n220 go ahead\r\n", true},
		{"smtp", "220 ready\r\n250 mail.example\r\n502 no\r\n", false},
		{"imap", "* OK ready\r\na OK begin\r\n", true},
		{"imap", "* OK ready\r\na BAD no\r\n", false},
		{"pop3", "+OK ready\r\n+OK begin\r\n", true},
		{"ftp", "220 ready\r\n234 AUTH TLS\r\n", true},
		{"postgres", "S", true},
		{"postgres", "N", false},
		{"ldap", "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", true},
		{"ldap", string(longLDAP), true},
		{"ldap", "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00", false},
		{"gopher", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.protocol+" "+strings.TrimSpace(tt.server), func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			defer server.Close()
			client.SetDeadline(time.Now().Add(10 * time.Second))
			go io.Copy(io.Discard, server)
			r := bufio.NewReader(strings.NewReader(tt.server))
			if err := startTLS(tt.protocol, client, r); (err == nil) != tt.ok {
				t.Errorf("%v", err)
			}
			if tt.ok && r.Buffered() > 0 {
				t.Errorf("%d bytes were left", r.Buffered())
			}
		})
	}
}

// FuzzReadFlight asserts that an answer either is a refusal or names a version.
func FuzzReadFlight(f *testing.F) {
	f.Add(handshake.Alert{Level: handshake.Fatal, Description: 40}.AppendRecord(nil, handshake.TLS12))
	f.Add([]byte("\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x2f\x00"))
	f.Add([]byte("\x16\x03\x03\x00\x04\x0e\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		a, err := readFlight(bytes.NewReader(in))
		if err == nil && a.Refused == (a.Version != 0) {
			t.Errorf("%+v", a)
		}
	})
}
