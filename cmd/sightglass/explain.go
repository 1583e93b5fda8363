// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/sightglass/sightglass/capture"
	"github.com/sightglass/sightglass/explain"
	"github.com/sightglass/sightglass/rsakex"
)

func explainCommand(e *env) *cobra.Command {
	var sel selection
	cmd := &cobra.Command{
		Use:   "explain [flags] FILE...",
		Short: "The story of each handshake in a capture, why it was not read, and what to do",
		Long: `Reads captures as decrypt does, and tells what happened on each flow in words: what was offered, chosen and
presented, what was read, why not the rest, and what to do about it.`,
		Example: `  sightglass explain --key server.key capture.pcap
  sightglass explain --key server.key --flow 3 capture.pcap`,
		Args: arguments(cobra.MinimumNArgs(1), "needs a FILE, or - for standard input"),
	}
	b := newSettingFlags(cmd.Flags())
	b.addKeys()
	sel.addFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		s, err := b.settings()
		if err != nil {
			return err
		}
		harden()
		engine, err := openEngine(e, &s, false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, engine.close()) }()
		stories := explain.NewStories(e.stdout, nil)
		ctx, stop := untilHangup(cmd.Context())
		defer stop()
		stats, err := readCaptures(ctx, capture.Options{
			Files:   args,
			Session: engine.config(&s, rsakex.NewLocal(engine.ring), sel.handler(stories)),
			Select:  sel.Selection,
		})
		e.warnOf(&stats)
		told, writeErr := stories.Told()
		if err == nil {
			sel.reportMissing(e)
		}
		if err == nil && told == 0 && sel.last.Load() == 0 {
			e.warn("no flow to tell of: %d packets, %d connections", stats.Packets, stats.Connections)
		}
		return errors.Join(err, writeErr)
	}
	return cmd
}
