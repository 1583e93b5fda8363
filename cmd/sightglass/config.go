// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/keylog"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

func configCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Configuration files",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "check FILE",
		Short: "Read a configuration file and its keys, and say what they mean",
		Long: `Reads a configuration file and everything it names, as inline would, and says what it would do.
Nothing is started. Ends with status 1 when something is wrong.`,
		Example: "  sightglass config check /etc/sightglass/sightglass.toml",
		Args:    arguments(cobra.ExactArgs(1), "needs one FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := config.Load(args[0])
			if err != nil {
				return err
			}
			ring, err := loadRing(e, s.Keys)
			if err != nil {
				return err
			}
			if err := checkFiles(&s); err != nil {
				return err
			}
			if err := describe(e.stdout, &s, ring); err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.stdout, "%s: good\n", args[0])
			return err
		},
	})
	return cmd
}

// checkFiles checks what else settings name, but for what another process may have open: the session store, and outputs. Who will
// write these is not known either.
func checkFiles(s *config.Settings) error {
	outputs := outputFiles(&s.Output)
	if err := apart(inputFiles(s), outputs); err != nil {
		return err
	}
	if s.KeyLogIn != "" {
		log, err := keylog.Follow(s.KeyLogIn)
		if err != nil {
			return err
		}
		log.Close()
	}
	if s.SessionStore != "" {
		outputs = append(outputs, s.SessionStore)
	}
	return placed(outputs)
}

// describe says what settings mean.
func describe(w io.Writer, s *config.Settings, ring *rsakex.Ring) error {
	for _, p := range ring.Pairs() {
		what := "key only"
		if p.Certificate != nil {
			what = p.Certificate.Subject.String()
		} else if p.Raw != nil {
			what = "a certificate of an unusual form"
		}
		if !p.HasKey {
			what += ", without its key"
		}
		fmt.Fprintf(w, "key     %s: %s, RSA %d bits, SHA-256 %s\n", p.Source, what, p.Bits, p.Key)
	}
	in := &s.Inline
	switch err := in.CheckRun(); {
	case err != nil && len(s.Sniff.Interfaces) == 0:
		fmt.Fprintf(w, "inline  not with this file alone: %v\n", err)
	case err != nil:
	case in.To != "":
		fmt.Fprintf(w, "inline  from %s to %s\n", in.Listen, in.To)
	default:
		fmt.Fprintf(w, "inline  transparent on %v, ports %v, steering %s, when down %s\n", in.Interfaces, in.Ports, in.Steer, in.WhenDown)
	}
	if len(s.Sniff.Interfaces) > 0 {
		fmt.Fprintf(w, "sniff   on %v, filter %q\n", s.Sniff.Interfaces, s.Sniff.Filter)
	}
	policy, err := s.SessionPolicy()
	if err != nil {
		return err
	}
	byDefault := session.DefaultPolicy()
	for _, c := range session.Causes() {
		if policy[c] != byDefault[c] {
			fmt.Fprintf(w, "policy  %v: %v instead of %v\n", c, policy[c], byDefault[c])
		}
	}
	return nil
}
