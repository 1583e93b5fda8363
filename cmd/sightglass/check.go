// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sightglass/sightglass/explain"
	"github.com/sightglass/sightglass/explain/probe"
	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/rsakex"
)

func checkCommand(e *env) *cobra.Command {
	var server probe.Server
	var serverName string
	var suites bool
	cmd := &cobra.Command{
		Use:   "check [flags] HOST:PORT",
		Short: "A dry run: would this server be readable, and if not, what to change there",
		Long: `Asks a server what it would negotiate, with a ClientHello a question, and says whether its flows
could be read. Ends with status 1 when they could not.`,
		Example: `  sightglass check www.example.com:443
  sightglass check --cert server.pem --key server.key 192.0.2.10:8443
  sightglass check --starttls smtp mail.example.com:25`,
		Args: arguments(cobra.ExactArgs(1), "needs one HOST:PORT"),
	}
	b := newSettingFlags(cmd.Flags())
	inGroup(cmd.Flags(), "Asking", func() {
		cmd.Flags().StringVar(&serverName, "server-name", "", "the name in the ClientHello; by default HOST")
		cmd.Flags().StringVar(&server.StartTLS, "starttls", "", "ask for TLS first: "+strings.Join(probe.StartTLSNames(), ", "))
		cmd.Flags().BoolVar(&suites, "suites", false, "find every suite with RSA key exchange that is accepted")
		cmd.Flags().DurationVar(&server.Timeout, "timeout", 10*time.Second, "for each question")
	})
	b.addKeyFiles()
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		host, _, err := net.SplitHostPort(args[0])
		if err != nil {
			return usagef("%q is not HOST:PORT, such as www.example.com:443", args[0])
		}
		if server.StartTLS != "" && !slices.Contains(probe.StartTLSNames(), server.StartTLS) {
			return usagef("--starttls knows %s", strings.Join(probe.StartTLSNames(), ", "))
		}
		if serverName == "" && net.ParseIP(host) == nil {
			serverName = host
		}
		s, err := b.settings()
		if err != nil {
			return err
		}
		match, err := keyMatcher(e, &s)
		if err != nil {
			return err
		}
		server.Address = args[0]
		report, err := explain.Check(cmd.Context(), server, match, serverName, suites)
		if err != nil {
			return err
		}
		if err := report.Write(e.stdout); err != nil {
			return err
		}
		if report.Verdict != explain.Readable {
			return errSilent
		}
		return nil
	}
	return cmd
}

// keyMatcher says which key fits a certificate; nil when no keys are configured.
func keyMatcher(e *env, s *config.Settings) (explain.Match, error) {
	if len(s.Keys) == 0 {
		return nil, nil
	}
	ring, err := loadRing(e, s.Keys)
	if err != nil {
		return nil, err
	}
	return func(leaf []byte) (string, bool) {
		id, result := ring.Match(leaf, s.Match == config.MatchPublicKey)
		if result != rsakex.Matched {
			return "", false
		}
		return ring.Source(id), true
	}, nil
}
