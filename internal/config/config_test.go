// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/session"
)

const whole = `
match = "public-key"
keylog-in = "in.keys"
session-store = "/var/lib/sightglass/sessions"
sessions = 1000

[[key]]
certificate = "server.pem"
key = "/etc/ssl/server.key"
passphrase-file = "pass"

[[key]]
key = "bundle.p12"

[inline]
interfaces = ["eth1", "eth2"]
ports = "443,8443,8440-8442"
include = ["10.0.0.0/8", "2001:db8::/32"]
exclude = ["10.9.0.0/16"]
listen = "[::]:15443"
when-down = "drop"
steer = "ebpf"
nice = -5
keep-awake = false
dial-timeout = "3s"
max-handshake = "64KiB"

[policy]
tls13 = "forward"

[sniff]
interfaces = ["eth0"]
filter = "tcp port 443"
ring-size = "1GiB"

[output]
eve = "-"
pcapng = "plain.pcapng"
rotate-size = "2GiB"
rotate-time = "1h"
metrics = "127.0.0.1:9090"
`

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sightglass.toml")
	if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := s.SessionPolicy()
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"match":             s.Match == MatchPublicKey,
		"relative":          s.Keys[0].Certificate == filepath.Join(dir, "server.pem"),
		"absolute":          s.Keys[0].Key == "/etc/ssl/server.key",
		"standard output":   s.Output.EVE == "-",
		"second key":        len(s.Keys) == 2 && s.Keys[1].Certificate == "",
		"ports":             s.Inline.Ports.String() == "443,8440-8443",
		"networks":          len(s.Inline.Include) == 2 && s.Inline.Exclude[0].String() == "10.9.0.0/16",
		"duration":          s.Inline.DialTimeout == Duration(3*time.Second),
		"duration default":  s.Inline.HandshakeTimeout == Default().Inline.HandshakeTimeout,
		"size":              s.Inline.MaxHandshake == 64<<10 && s.Output.RotateSize == 2<<30,
		"policy":            policy[session.TLS13] == session.ActionForward,
		"policy by default": policy[session.CertificateMismatch] == session.ActionAlert,
		"nice":              s.Inline.Nice == -5,
		"keep-awake":        !s.Inline.KeepAwake,
		"choices":           s.Inline.Steer == SteerEBPF && s.Inline.WhenDown == WhenDownDrop,
	} {
		if !ok {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// TestPackagedExample keeps the file that the packages install readable.
func TestPackagedExample(t *testing.T) {
	s, err := Load(filepath.Join("..", "..", "packaging", "sightglass.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Output.EVE == "" || s.SessionStore == "" || s.Inline.Ports.Empty() {
		t.Errorf("%+v", s)
	}
}

func TestRefused(t *testing.T) {
	tests := []struct{ name, text, says string }{
		{"unknown key", "\n[inline]\nlisen = \"x\"\n", `f.toml:3: unknown key "inline.lisen"`},
		{"unknown key in a list", "[[key]]\nkey = \"x\"\nfoo = 1\n", `f.toml:3: unknown key "key.foo"`},
		{"syntax", "a = \n", "f.toml:1:"},
		{"type", "match = 3\n", "f.toml:1:9: match: cannot decode TOML integer"},
		{"ports", "[inline]\nports = \"0\"\n", `inline.ports: "0" is not a set of ports`},
		{"ports backwards", "[inline]\nports = \"9-8\"\n", "is not a set of ports"},
		{"duration", "[inline]\ndial-timeout = \"soon\"\n", `"soon" is not a duration`},
		{"zero timeout", "[inline]\ndial-timeout = \"0s\"\n", "may not be zero"},
		{"size", "[output]\neve = \"e\"\nrotate-size = \"9EiB\"\n", "is not a size"},
		{"huge size", "[output]\nrotate-size = \"9000000000GiB\"\n", "is not a size"},
		{"rotate nothing", "[output]\nrotate-size = \"1MiB\"\n", "need a file to rotate"},
		{"network", "[inline]\ninclude = [\"10.0.0.0\"]\n", "f.toml:2:"},
		{"policy cause", "[policy]\ntls14 = \"alert\"\n", `unknown cause "tls14"`},
		{"policy action", "[policy]\ntls13 = \"shout\"\n", `policy for tls13: unknown action "shout"`},
		{"match", "match = \"subject\"\n", `match: "subject" is not one of leaf, public-key`},
		{"steer", "[inline]\nsteer = \"magic\"\n", "steer:"},
		{"less than the least nice", "[inline]\nnice = -21\n", "nice: -21 is not between -20 and 19"},
		{"nicer than the nicest", "[inline]\nnice = 20\n", "nice: 20 is not between"},
		{"both forms", "[inline]\ninterfaces = [\"a\"]\nto = \"h:1\"\n", "exclude each other"},
		{"upstream without port", "[inline]\nto = \"host\"\n", "is not an address"},
		{"empty key", "[[key]]\npassphrase-file = \"x\"\n", "key 1: neither"},
		{"two to standard output", "[output]\neve = \"-\"\nfollow = true\n", "only one output"},
		{"ring size", "[sniff]\nring-size = \"1KiB\"\n", "ring-size"},
		{"metrics", "[output]\nmetrics = \"9090\"\n", "metrics:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse("f.toml", []byte(tt.text))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("says %q, not %q", err, tt.says)
			}
		})
	}
}

func TestCheckRun(t *testing.T) {
	ports := Ports{Any: true}
	tests := []struct {
		name string
		in   Inline
		ok   bool
	}{
		{"nothing", Inline{}, false},
		{"transparent", Inline{Interfaces: []string{"eth1"}, Ports: ports}, true},
		{"no ports", Inline{Interfaces: []string{"eth1"}}, false},
		{"fixed", Inline{Listen: ":1", To: "h:2"}, true},
		{"fixed without listen", Inline{To: "h:2"}, false},
	}
	for _, tt := range tests {
		if err := tt.in.CheckRun(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestUnitsRoundTrip(t *testing.T) {
	for _, text := range []string{"0", "1", "1000", "64KiB", "16MiB", "2GiB", "3TiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if back, _ := s.MarshalText(); string(back) != text {
			t.Errorf("%s came back as %s", text, back)
		}
	}
	for text, want := range map[string]string{
		"443": "443", "any": "any", "8443, 443": "443,8443", "1-3,2-9,10": "1-10", "65535,1": "1,65535",
	} {
		var p Ports
		if err := p.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if p.String() != want {
			t.Errorf("%s came back as %s", text, p)
		}
	}
}

// FuzzParse asserts that what is accepted passes its own check and that errors are one line.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("[inline]\nports = \"any\"\n")
	f.Add("[[key]]\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse("f", []byte(text))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		if err := s.Check(); err != nil {
			t.Errorf("accepted, but %v", err)
		}
	})
}
