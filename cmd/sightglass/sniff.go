// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/sightglass/sightglass/internal/config"
)

func sniffCommand(e *env) *cobra.Command {
	var sel selection
	var withSecrets string
	cmd := &cobra.Command{
		Use:   "sniff [flags] -i IF",
		Short: "A live interface: listen and read, touch nothing",
		Long: `Captures from interfaces (a mirror port, a tap, or the server itself) and decrypts what the keys open. It
needs Linux, and root or CAP_NET_RAW. TLS is found by its ClientHello, on any port; what the kernel had to drop
becomes a gap, and is counted.

Standard output, if no output is to have it, has a line for each flow as it ends, and a table at the end. SIGINT, SIGTERM or
SIGHUP ends it.`,
		Example: `  sightglass sniff -i eth0 --key server.key
  sightglass sniff -i eth0 --filter 'tcp port 443 and net 192.0.2.0/24' --key server.key --eve eve.json
  sightglass sniff -i eth0 -i eth1 --key server.key --pcap-over-ip 127.0.0.1:57012
  sightglass sniff -i eth0 --key server.key --mirror plain0 --shunt
  sightglass sniff -i eth0 --key server.key --with-secrets - | wireshark -k -i -`,
		Args: arguments(cobra.NoArgs, "takes no arguments: name interfaces with -i"),
	}
	b := newSettingFlags(cmd.Flags())
	b.addSniff()
	b.addKeys()
	sel.addFlags(cmd.Flags())
	inGroup(cmd.Flags(), headOutputs, func() {
		b.addOutputs()
		b.addLiveOutputs()
		withSecretsFlag(cmd, &withSecrets)
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := b.settings()
		if err != nil {
			return err
		}
		if len(s.Sniff.Interfaces) == 0 {
			return usagef("sniff needs an interface: -i IF")
		}
		switch {
		case withSecrets == "-" && !tellsPeople(&s.Output):
			return usagef("only one output can have standard output")
		case withSecrets != "" && len(sel.flows) > 0:
			return errFlowWithSecrets
		}
		return runSniff(cmd.Context(), e, s, &sel, withSecrets)
	}
	return cmd
}

func (b *settingFlags) addSniff() {
	inGroup(b.flags, "Where", func() {
		b.addConfig()
		b.list("interface", "i", "IF", "listen here; repeatable; any stands for all",
			func(s *config.Settings) *[]string { return &s.Sniff.Interfaces })
		b.text("filter", "", "EXPR", "a capture filter, in tcpdump's words",
			func(s *config.Settings) *string { return &s.Sniff.Filter })
		measured(b, "snaplen", "SIZE", "of each packet, take at most so much",
			func(s *config.Settings) *config.Size { return &s.Sniff.Snaplen })
		measured(b, "ring-size", "SIZE", "the kernel's ring, of each socket",
			func(s *config.Settings) *config.Size { return &s.Sniff.RingSize })
		b.number("fanout", "sockets on each interface; by default one a processor",
			func(s *config.Settings) *int { return &s.Sniff.Fanout })
		b.boolean("shunt", "", "let the kernel drop flows that cannot be read",
			func(s *config.Settings) *bool { return &s.Sniff.Shunt })
		b.boolean("promiscuous", "", "take packets for other machines, too",
			func(s *config.Settings) *bool { return &s.Sniff.Promisc })
	})
}
