// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"strings"

	"github.com/sightglass/sightglass/internal/config"
)

// The headings of the help.
const (
	headKeys    = "Keys"
	headOutputs = "Outputs (- is standard output; files are made with mode 0600)"
)

// addConfig adds --config.
func (b *settingFlags) addConfig() {
	b.flags.Var(&setting{kind: "FILE", set: func(text string, _ bool) error {
		b.file = text
		return nil
	}}, "config", "read settings from a TOML file; flags go over it")
}

// addKeyFiles adds what names certificates and keys.
func (b *settingFlags) addKeyFiles() {
	inGroup(b.flags, headKeys, func() {
		for _, kind := range []keyFlag{flagCert, flagKey, flagPassphrase} {
			b.add(string(kind), "", kind.usage(), &setting{kind: "FILE", set: func(text string, _ bool) error {
				b.keys.items = append(b.keys.items, keyItem{kind, text})
				return nil
			}})
		}
		b.choice("match", "leaf|public-key", "what of a server's certificate is compared",
			func(s *config.Settings) *config.Choice { return &s.Match })
	})
}

// addKeys adds all that opens flows: certificates and keys, key logs, sessions of earlier.
func (b *settingFlags) addKeys() {
	b.addKeyFiles()
	inGroup(b.flags, headKeys, func() {
		b.text("keylog-in", "", "FILE", "also use the secrets of an NSS key log, growing or not",
			func(s *config.Settings) *string { return &s.KeyLogIn })
		b.text("session-store", "", "FILE", "keep resumption secrets between runs, encrypted under the private key",
			func(s *config.Settings) *string { return &s.SessionStore })
		b.number("sessions", "sessions remembered for resumption", func(s *config.Settings) *int { return &s.Sessions })
	})
}

// addOutputs adds what all three ways write.
func (b *settingFlags) addOutputs() {
	out := func(f func(*config.Output) *string) func(*config.Settings) *string {
		return func(s *config.Settings) *string { return f(&s.Output) }
	}
	b.text("keylog", "", "FILE", "an NSS key log, for Wireshark", out(func(o *config.Output) *string { return &o.KeyLog }))
	b.text("eve", "", "FILE", "Suricata EVE JSON, one object a line", out(func(o *config.Output) *string { return &o.EVE }))
	b.text("pcapng", "", "FILE", "the plaintext as TCP packets", out(func(o *config.Output) *string { return &o.PCAPNG }))
	b.boolean("follow", "", "the conversations, on standard output", func(s *config.Settings) *bool { return &s.Output.Follow })
}

// addLiveOutputs adds what only live traffic feeds.
func (b *settingFlags) addLiveOutputs() {
	b.text("pcap-over-ip", "", "ADDR", "serve the plaintext as pcapng over TCP, for Wireshark and NetworkMiner",
		func(s *config.Settings) *string { return &s.Output.PCAPOverIP })
	b.text("mirror", "", "IF", "send the plaintext as packets out of an interface, made if it is missing",
		func(s *config.Settings) *string { return &s.Output.Mirror })
	measured(b, "rotate-size", "SIZE", "start new --eve and --pcapng files at this size, such as 1GiB",
		func(s *config.Settings) *config.Size { return &s.Output.RotateSize })
	measured(b, "rotate-time", "TIME", "start new --eve and --pcapng files after this time, such as 1h",
		func(s *config.Settings) *config.Duration { return &s.Output.RotateTime })
	b.text("metrics", "", "ADDR", "serve Prometheus metrics over HTTP at /metrics",
		func(s *config.Settings) *string { return &s.Output.Metrics })
}

// addPolicy adds --policy CAUSE=ACTION.
func (b *settingFlags) addPolicy() {
	b.add("policy", "", "what to do with flows that cannot be read: alert, reset or forward", &setting{
		kind: "CAUSE=ACTION",
		set: func(text string, _ bool) error {
			given := map[string]string{}
			for item := range strings.SplitSeq(text, ",") {
				cause, action, ok := strings.Cut(item, "=")
				if !ok {
					return fmt.Errorf("not CAUSE=ACTION, such as tls13=forward")
				}
				given[cause] = action
			}
			b.given = append(b.given, func(s *config.Settings) {
				all := map[string]string{}
				maps.Copy(all, s.Policy)
				maps.Copy(all, given)
				s.Policy = all
			})
			return nil
		},
	})
}
