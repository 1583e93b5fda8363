// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/capture"
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// sharedCaptures is a folder of public sample captures, beside the repository where it is present. They
// are others' data and no part of it.
var sharedCaptures = filepath.Join("..", "..", "..", "shared", "captures")

// collected is what a capture gave, by flow.
type collected struct {
	ids   []uint64
	flows map[uint64]*session.Flow
	text  map[uint64]*[2]bytes.Buffer
}

func (c *collected) Event(e *session.Event) {
	id := e.Flow.ID
	if c.text[id] == nil {
		c.ids = append(c.ids, id)
		c.text[id] = &[2]bytes.Buffer{}
	}
	switch e.Kind {
	case session.KindData:
		c.text[id][e.Side].Write(e.Data)
	case session.KindEnd:
		f := *e.Flow
		c.flows[id] = &f
	}
}

// all is the plaintext of one side of all flows.
func (c *collected) all(side handshake.Side) string {
	var b strings.Builder
	for _, id := range c.ids {
		b.WriteString(c.text[id][side].String())
	}
	return b.String()
}

func (c *collected) both() string { return c.all(handshake.Client) + c.all(handshake.Server) }

// decryptCapture reads captures as the command does.
func decryptCapture(t *testing.T, s config.Settings, workers int, files ...string) (*collected, capture.Stats) {
	t.Helper()
	e := &env{stdin: strings.NewReader(""), stdout: t.Output(), stderr: t.Output(), now: systemEnv().now, getenv: os.Getenv}
	engine, err := openEngine(e, &s, false)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.close()
	c := &collected{flows: map[uint64]*session.Flow{}, text: map[uint64]*[2]bytes.Buffer{}}
	stats, err := capture.Decrypt(t.Context(), capture.Options{
		Files: files, Session: engine.config(&s, rsakex.NewLocal(engine.ring), c), Workers: workers,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range stats.Warnings {
		t.Errorf("warning: %v", w)
	}
	return c, stats
}

func count(text, pattern string) int {
	return len(regexp.MustCompile(pattern).FindAllString(text, -1))
}

// TestSharedCaptures asserts what the folder's README says of each capture.
func TestSharedCaptures(t *testing.T) {
	if _, err := os.Stat(sharedCaptures); err != nil {
		t.Logf("no captures beside this checkout: %v", err)
		return
	}
	tests := []struct {
		capture, key, keyLog string
		flows                int
		check                func(t *testing.T, c *collected)
	}{
		{"rsasnakeoil2.pcap", "rsasnakeoil2.key", "", 2, func(t *testing.T, c *collected) {
			starts(t, c, 0, "GET / HTTP/1.1")
			starts(t, c, 1, "GET /icons/debian/openlogo-25.jpg")
			allSpeak(t, c, handshake.SSL30)
		}},
		{"tls-renegotiation.pcap", "rsasnakeoil2.key", "", 1, func(t *testing.T, c *collected) {
			contains(t, c, "GET /generate-tls-renegotiation.py.py", "Content-Length: 0", "Content-Length: 2151")
			if f := c.flows[c.ids[0]]; f.Handshakes != 5 {
				t.Errorf("%d handshakes, not 5", f.Handshakes)
			} else if len(f.ServerChain) != 1 { // the last two are abbreviated
				t.Errorf("%d certificates of the server", len(f.ServerChain))
			}
		}},
		{"firefox-tls10.pcap", "firefox-tls10.pem", "", 31, func(t *testing.T, c *collected) {
			if n := count(c.all(handshake.Client), `GET \S+ HTTP/1\.`); n != 28 {
				t.Errorf("%d requests, not 28", n)
			}
			if n := count(c.all(handshake.Server), `HTTP/1\.\d \d\d\d`); n != 28 {
				t.Errorf("%d responses, not 28", n)
			}
			allSpeak(t, c, handshake.TLS10)
		}},
		{"session-id-reuse.pcap", "session-id-reuse.pem", "", 6, func(t *testing.T, c *collected) {
			last := c.text[c.ids[len(c.ids)-1]]
			if got := last[handshake.Client].String() + last[handshake.Server].String(); got != "1\n2\n" {
				t.Errorf("the last connection has %q", got)
			}
		}},
		{"tls12-dsb.pcapng", "", "", 2, func(t *testing.T, c *collected) {
			if n := count(c.all(handshake.Client), `(?m)^HEAD / `); n != 2 {
				t.Errorf("%d requests, not 2", n)
			}
			contains(t, c, "example.com", "example.net")
		}},
		{"tls13-rfc8446.pcap", "", "tls13-rfc8446.keys", 2, func(t *testing.T, c *collected) {
			contains(t, c, "/first", "/early", "/second")
			allSpeak(t, c, handshake.TLS13)
		}},
		{"dhe1.pcapng.gz", "", "dhe1.keys", 1, func(t *testing.T, c *collected) {
			contains(t, c, "GET /test HTTP/1.0")
		}},
		{"smtp-ssl.pcapng", "", "smtp-ssl.keys", 1, func(t *testing.T, c *collected) { contains(t, c, "EHLO lekensteyn") }},
		{"pgsql-ssl.pcapng", "", "pgsql-ssl.keys", 1, func(t *testing.T, c *collected) {
			if n := count(c.all(handshake.Client), `(?i)Q\x00\x00[\s\S]{2}select`); n == 0 {
				t.Errorf("no query: %q", c.all(handshake.Client))
			}
		}},
		{"ldap-ssl.pcapng", "", "ldap-ssl.keys", 1, func(t *testing.T, c *collected) { contains(t, c, "supportedSASLMechanisms") }},
		{"local-base.pcap", "local.key", "", 1, lines200},
		{"local-vlan.pcap", "local.key", "", 1, lines200},
		{"local-ooo.pcap", "local.key", "", 1, lines200},
		{"local-ticket-resumption.pcap", "local.key", "", 2, func(t *testing.T, c *collected) {
			starts(t, c, 0, "PING")
			starts(t, c, 1, "PING")
			if f := c.flows[c.ids[1]]; f.Resumed != session.ResumedTicket {
				t.Errorf("the second was resumed: %v", f.Resumed)
			}
		}},
		{"local-mtls.pcap", "local.key", "", 1, func(t *testing.T, c *collected) {
			starts(t, c, 0, "PING")
			if f := c.flows[c.ids[0]]; len(f.ClientChain) == 0 || !f.ClientProven {
				t.Errorf("client certificate: %d, proven %v", len(f.ClientChain), f.ClientProven)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.capture, func(t *testing.T) {
			s := config.Default()
			if tt.key != "" {
				s.Keys = []config.Key{{Key: filepath.Join(sharedCaptures, tt.key)}}
			}
			if tt.keyLog != "" {
				s.KeyLogIn = filepath.Join(sharedCaptures, tt.keyLog)
			}
			c, _ := decryptCapture(t, s, 1, filepath.Join(sharedCaptures, tt.capture))
			if len(c.flows) != tt.flows {
				t.Errorf("%d flows, not %d", len(c.flows), tt.flows)
			}
			for _, id := range c.ids {
				if f := c.flows[id]; f.Outcome != session.OutcomeRead {
					t.Errorf("flow %d: %v, %v: %s", id, f.Outcome, f.Cause, f.Detail)
				}
			}
			if t.Failed() {
				return
			}
			tt.check(t, c)
			again, _ := decryptCapture(t, s, 3, filepath.Join(sharedCaptures, tt.capture))
			if !slices.Equal(c.ids, again.ids) || c.both() != again.both() {
				t.Error("three workers read something else than one")
			}
		})
	}
}

func starts(t *testing.T, c *collected, i int, want string) {
	t.Helper()
	if got := c.text[c.ids[i]][handshake.Client].String(); !strings.HasPrefix(got, want) {
		t.Errorf("stream %d starts %.60q, not %q", i, got, want)
	}
}

func contains(t *testing.T, c *collected, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(c.both(), w) {
			t.Errorf("%q is not in the plaintext", w)
		}
	}
}

func allSpeak(t *testing.T, c *collected, want handshake.Version) {
	t.Helper()
	for _, f := range c.flows {
		if f.Version != want {
			t.Errorf("flow %d: %v, not %v", f.ID, f.Version, want)
		}
	}
}

func lines200(t *testing.T, c *collected) {
	t.Helper()
	text := c.all(handshake.Server)
	if n := count(text, `REC \d{6}`); n != 200 || !strings.Contains(text, "REC 000000") || !strings.Contains(text, "REC 000199") {
		t.Errorf("%d lines of 200", n)
	}
}
