// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/sightglass/sightglass/internal/config"
)

func inlineCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inline [flags]",
		Short: "Between client and server: relay, judge, read",
		Long: `Stands between clients and servers, relays their bytes unchanged, and reads them. Before a byte of the
server's first flight reaches the client, RSA key exchange must have been chosen and a configured
certificate presented; otherwise both peers get a fatal illegal_parameter alert (see --policy).

Transparent (as root, or with CAP_NET_ADMIN and CAP_NET_RAW): this machine is the clients' router; they
dial the server's real address, and the server sees the client's. Fixed (--to): clients connect to
--listen, no privilege is needed.

SIGINT or SIGTERM ends it when the flows have, or after --drain-timeout. SIGHUP reads the configuration
and the keys again, for the flows that come then.`,
		Example: `  sightglass inline --interface eth1 --port 443,8443 --cert server.pem --key server.key --eve eve.json
  sightglass inline --interface eth1 --port any --cert a.pem --key a.key --cert b.pem --key b.key --policy tls13=forward
  sightglass inline --listen 127.0.0.1:8443 --to 192.0.2.10:443 --cert server.pem --key server.key --follow
  sightglass inline --config /etc/sightglass/sightglass.toml`,
		Args: arguments(cobra.NoArgs, "takes no arguments"),
	}
	b := newSettingFlags(cmd.Flags())
	b.addInline()
	b.addKeys()
	inGroup(cmd.Flags(), headOutputs, func() {
		b.addOutputs()
		b.addLiveOutputs()
	})
	b.addInlineBounds()
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := b.settings()
		if err != nil {
			return err
		}
		if err := s.Inline.CheckRun(); err != nil {
			return usageError{err}
		}
		return runInline(cmd.Context(), e, s, b.settings)
	}
	return cmd
}

func (b *settingFlags) addInline() {
	inGroup(b.flags, "Where", func() {
		b.addConfig()
		b.list("interface", "", "IF", "transparent: clients' packets come in here; repeatable",
			func(s *config.Settings) *[]string { return &s.Inline.Interfaces })
		measured(b, "port", "PORTS", "transparent: the server ports to take, such as 443,8443, or any",
			func(s *config.Settings) *config.Ports { return &s.Inline.Ports })
		measuredList(b, "include", "NET", "transparent: only servers in these networks; repeatable",
			func(s *config.Settings) *[]netip.Prefix { return &s.Inline.Include })
		measuredList(b, "exclude", "NET", "transparent: never servers in these networks; repeatable",
			func(s *config.Settings) *[]netip.Prefix { return &s.Inline.Exclude })
		b.text("listen", "", "ADDR", "accept here (transparent: [::]:15443 if nothing is said)",
			func(s *config.Settings) *string { return &s.Inline.Listen })
		b.text("to", "", "HOST:PORT", "fixed upstream, in place of --interface and --port",
			func(s *config.Settings) *string { return &s.Inline.To })
		b.choice("when-down", "forward|drop", "transparent: what traffic does while no process runs",
			func(s *config.Settings) *config.Choice { return &s.Inline.WhenDown })
		b.choice("steer", "auto|ebpf|nftables", "transparent: how packets come to this program",
			func(s *config.Settings) *config.Choice { return &s.Inline.Steer })
		b.addPolicy()
	})
}

func (b *settingFlags) addInlineBounds() {
	inGroup(b.flags, "Bounds", func() {
		for _, d := range []struct {
			name, usage string
			field       func(*config.Settings) *config.Duration
		}{
			{"dial-timeout", "for the server to accept", func(s *config.Settings) *config.Duration { return &s.Inline.DialTimeout }},
			{"handshake-timeout", "from a ClientHello to both Finished", func(s *config.Settings) *config.Duration { return &s.Inline.HandshakeTimeout }},
			{"idle-timeout", "a flow without a byte for so long is reset", func(s *config.Settings) *config.Duration { return &s.Inline.IdleTimeout }},
			{"drain-timeout", "at the end, for flows to end by themselves", func(s *config.Settings) *config.Duration { return &s.Inline.DrainTimeout }},
		} {
			measured(b, d.name, "TIME", d.usage, d.field)
		}
		b.number("max-flows", "more are reset as they come", func(s *config.Settings) *int { return &s.Inline.MaxFlows })
		measured(b, "max-handshake", "SIZE", "the messages of one handshake",
			func(s *config.Settings) *config.Size { return &s.Inline.MaxHandshake })
		b.number("nice", "priority of what carries connections, where it may have that; 0: as started", func(s *config.Settings) *int { return &s.Inline.Nice })
		b.boolean("keep-awake", "", "processors do not sleep deeply amid handshakes, where that may be asked for",
			func(s *config.Settings) *bool { return &s.Inline.KeepAwake })
		b.number("workers", "processors for the private key; by default all", func(s *config.Settings) *int { return &s.Inline.Workers })
	})
}
