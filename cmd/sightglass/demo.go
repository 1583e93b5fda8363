// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sightglass/sightglass/internal/demo"
)

func demoCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "The whole thing on this machine, in network namespaces of its own",
		Long: `Makes a client, a box and a server, each in a network namespace of its own, and lets them speak: mutual TLS
through inline, IPv4 and IPv6, and a server that prefers ECDHE and is refused. It shows what the box read,
and checks what was promised: that both legs carried the same bytes, that each peer saw the other.

It needs Linux, and root or user namespaces for everyone; it installs nothing and leaves nothing behind.
Ends with status 1 when something did not hold.`,
		Args: arguments(cobra.NoArgs, "takes no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			start := e.now()
			err = demo.Run(cmd.Context(), self, e.stdout)
			if errors.Is(err, demo.ErrClaim) {
				return errSilent
			}
			if err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			if os.Getenv("SIGHTGLASS_DEMO_INNER") == "" {
				fmt.Fprintf(e.stdout, "\nEverything held, in %.1f s; nothing was left behind.\n", e.now().Sub(start).Round(100*time.Millisecond).Seconds())
			}
			return nil
		},
	}
}
