// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/sightglass/sightglass/capture"
	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/sink"
)

// decryptFlags are those that only decrypt has.
type decryptFlags struct {
	selection   selection
	list        bool
	streams     string
	har         string
	raw         string
	withSecrets string
	workers     int
	table       muting
	settle      func() // what raw has to take before data are another's; nil: nothing
}

func decryptCommand(e *env) *cobra.Command {
	var d decryptFlags
	cmd := &cobra.Command{
		Use:   "decrypt [flags] FILE...",
		Short: "Capture files: pcap, pcapng, compressed or not, or standard input",
		Long: `Reads captures and decrypts what the keys open: pcap and pcapng, .gz and .zst, or - for standard input.
Several files are one rotated set, in order. TLS is found by its ClientHello, on any port. A key opens
every certificate with its public key; secrets that a pcapng file brings along are used, too.

Standard output, if no output is to have it, tells what was read in a table: flows, read and not read by cause,
certificates, keys.`,
		Example: `  sightglass decrypt --key server.key capture.pcapng
  sightglass decrypt --key server.key --follow --port 8443 capture.pcap.zst
  sightglass decrypt --key server.key --list capture.pcap
  sightglass decrypt --key server.key --flow 3 --streams out capture.pcap
  sightglass decrypt --key server.key --raw - capture.pcap | grep --text -i password
  sightglass decrypt --keylog-in keys.log --with-secrets for-wireshark.pcapng capture.pcap
  tcpdump -w - port 443 | sightglass decrypt --key server.key --eve - -`,
		Args: arguments(cobra.MinimumNArgs(1), "needs a FILE, or - for standard input"),
	}
	b := newSettingFlags(cmd.Flags())
	b.addKeys()
	d.selection.addFlags(cmd.Flags())
	inGroup(cmd.Flags(), headOutputs, func() {
		b.addOutputs()
		cmd.Flags().BoolVar(&d.list, "list", false, "a line for each flow, with its number")
		fileFlag(cmd, &d.streams, "streams", "DIR", "one file for each direction of each flow")
		fileFlag(cmd, &d.raw, "raw", "FILE", "the plaintext and nothing else, as it was said")
		fileFlag(cmd, &d.har, "har", "FILE", "the HTTP/1.1 and HTTP/2 exchanges, as an HTTP archive")
		withSecretsFlag(cmd, &d.withSecrets)
	})
	inGroup(cmd.Flags(), "Bounds", func() {
		cmd.Flags().IntVar(&d.workers, "processors", 0, "read with so many processors; by default all")
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := b.settings()
		if err != nil {
			return err
		}
		if err := d.check(&s.Output); err != nil {
			return err
		}
		return d.run(cmd.Context(), e, &s, args)
	}
	return cmd
}

func fileFlag(cmd *cobra.Command, to *string, name, kind, usage string) {
	cmd.Flags().Var(&setting{kind: kind, set: func(text string, _ bool) error {
		*to = text
		return nil
	}}, name, usage)
}

func (d *decryptFlags) check(o *config.Output) error {
	n := 0
	for _, on := range []bool{!tellsPeople(o), d.list, d.raw == "-", d.har == "-", d.withSecrets == "-"} {
		if on {
			n++
		}
	}
	switch {
	case n > 1:
		return usagef("only one output can have standard output")
	case d.withSecrets != "" && len(d.selection.flows) > 0:
		return errFlowWithSecrets
	case d.streams == "-":
		return usagef("--streams needs a folder")
	case d.workers < 0:
		return usagef("--processors: less than none")
	}
	return nil
}

func (d *decryptFlags) run(ctx context.Context, e *env, s *config.Settings, files []string) (err error) {
	harden()
	collectLate()
	written := outputFiles(&s.Output, d.raw, d.har, d.withSecrets)
	if err := errors.Join(present(files), apart(append(inputFiles(s), files...), written)); err != nil {
		return err
	}
	if len(written) > 0 || d.streams != "" || d.withSecrets != "" {
		ignorePipes() // the others go on
	}
	ctx, stop := untilHangup(ctx)
	defer stop()
	engine, err := openEngine(e, s, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.close()) }()
	fan, err := d.outputs(e, &s.Output)
	if err != nil {
		return err
	}
	keys, flows := &keyCheck{e: e, ring: engine.ring, among: d.selection.among()}, &list{w: e.stdout}
	handler := handlers{keys, d.selection.handler(fan)}
	if d.list {
		handler = append(handler, d.selection.handler(flows))
	}
	options := capture.Options{
		Files:    files,
		Session:  engine.config(s, rsakex.NewLocal(engine.ring), handler),
		Workers:  d.workers,
		Select:   d.selection.Selection,
		Settle:   d.settle,
		Progress: progress(e, s.Output.Follow),
	}
	var finish func() error
	if options.WithSecrets, finish, err = openCopy(e, d.withSecrets); err != nil {
		return errors.Join(err, fan.Close())
	}
	stats, err := readCaptures(ctx, options)
	d.table.mute.Store(err != nil && stats.Packets == 0)
	err = errors.Join(err, finish(), fan.Close(), flows.err)
	if err == nil || stats.Packets > 0 {
		d.report(e, s, &stats)
	}
	if stats.Packets > 0 {
		keys.report(ctx)
	}
	if err == nil {
		d.selection.reportMissing(e)
	}
	return err
}

// readCaptures reads captures to their end, or until a signal.
func readCaptures(ctx context.Context, o capture.Options) (capture.Stats, error) {
	stats, err := capture.Decrypt(ctx, o)
	if errors.Is(err, context.Canceled) {
		err = errors.New("ended by a signal: the rest was not read")
	}
	return stats, err
}

// outputs opens what comes out. What was not asked for by name is a table.
func (d *decryptFlags) outputs(e *env, o *config.Output) (*sink.Fan, error) {
	out := openOutputs(e, o, captureOptions())
	out.file(d.raw, func(w *sink.Output) sink.Sink {
		raw := sink.NewRaw(w)
		d.settle = raw.Lasting()
		return raw
	})
	out.file(d.har, func(w *sink.Output) sink.Sink { return sink.NewHAR(w, sink.HAROptions{Version: versionText()}) })
	if d.streams != "" {
		out.add(func() (sink.Sink, error) {
			return sink.NewStreams(d.streams, sink.StreamsOptions{Options: captureOptions()})
		})
	}
	if d.wantsTable(o) {
		d.table.Writer = e.stdout
		out.writer(&d.table, func(w *sink.Output) sink.Sink {
			return sink.NewSummary(w, sink.SummaryOptions{Table: true, Colour: e.colour()})
		})
	}
	return out.done()
}

// wantsTable says whether standard output is free to tell a person what was read.
func (d *decryptFlags) wantsTable(o *config.Output) bool {
	return !d.list && tellsPeople(o) && d.raw != "-" && d.har != "-" && d.withSecrets != "-"
}

// report tells what the files were like, beyond their flows.
func (d *decryptFlags) report(e *env, s *config.Settings, stats *capture.Stats) {
	e.warnOf(stats)
	if d.wantsTable(&s.Output) && stats.Packets > 0 {
		writeStats(e.stdout, stats)
	}
}

// warnOf tells what of the files was not read.
func (e *env) warnOf(stats *capture.Stats) {
	for _, warning := range stats.Warnings {
		e.warn("%s", oneLine(warning))
	}
	for link, n := range stats.Links {
		e.warn("%d packets of link type %d were not read: it is not known here", n, link)
	}
}

func writeStats(w io.Writer, stats *capture.Stats) {
	fmt.Fprintf(w, "\nPackets      %d, %d connections", stats.Packets, stats.Connections)
	if !stats.First.IsZero() {
		fmt.Fprintf(w, ", %s to %s", stats.First.Format(time.DateTime), stats.Last.Format(time.DateTime))
	}
	fmt.Fprintln(w)
	c := &stats.Streams
	for _, line := range []struct {
		n    uint64
		text string
	}{
		{c.OutOfOrder, "segments out of order"},
		{c.Retransmitted, "segments retransmitted"},
		{c.Overlapping, "segments overlapping with other bytes"},
		{c.Gaps, "holes"},
	} {
		if line.n > 0 {
			fmt.Fprintf(w, "             %d %s\n", line.n, line.text)
		}
	}
	if stats.Secrets > 0 {
		fmt.Fprintf(w, "             %d secrets in the files\n", stats.Secrets)
	}
}

// progress shows how far the reading is, where a person sees it; nil otherwise.
func progress(e *env, follow bool) func(read, total int64) {
	if !isTerminal(e.stderr) || follow {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(read, total int64) {
		if bar == nil {
			if total == 0 {
				total = -1
			}
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(e.stderr), progressbar.OptionShowBytes(true),
				progressbar.OptionSetDescription("reading"), progressbar.OptionClearOnFinish(),
				progressbar.OptionThrottle(100*time.Millisecond))
		}
		_ = bar.Set64(read)
		if read == total {
			_ = bar.Finish()
		}
	}
}
