// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// peerCollection is the peers' percentage of garbage: their collections shall not be what a quantile of latencies tells of.
const peerCollection = 1000

// errMissed says that all was measured and a target was missed.
var errMissed = errors.New("a target was missed")

func run() error {
	b := &bench{}
	peer := flag.String("peer", "", "be a peer in the bench's own hosts: client or server")
	dir := flag.String("dir", "", "the peer's files")
	addresses := flag.String("addresses", "", "the client's addresses")
	only := flag.String("only", "", "only these groups of rows, separated by commas")
	out := flag.String("markdown", "", "write the table to this file, too, as Markdown")
	flag.StringVar(&b.sightglass, "sightglass", "bin/sightglass", "the program")
	flag.BoolVar(&b.quick, "quick", false, "small, and without judging")
	flag.IntVar(&b.runs, "runs", 5, "runs of each measurement")
	flag.StringVar(&b.profiles, "profiles", "", "write profiles of the program's processor time into this folder")
	flag.Parse()
	if *peer != "" {
		debug.SetGCPercent(peerCollection)
	}
	switch *peer {
	case "client":
		all, err := parseAddresses(*addresses)
		if err != nil {
			return err
		}
		return runClient(*dir, all)
	case "server":
		return runServer(*dir)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, labLife)
	defer cancel()
	b.ctx = ctx
	return b.run(*only, *out)
}

func parseAddresses(text string) (all []netip.Addr, err error) {
	for a := range strings.SplitSeq(text, ",") {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return nil, err
		}
		all = append(all, addr)
	}
	return all, nil
}

// bench is one run of the program.
type bench struct {
	ctx        context.Context
	lab        *lab
	sightglass string
	quick      bool
	runs       int
	profiles   string
	row        string // the group of rows at work
	profiled   int
	lines      []line
	machine    []string
	flows      int // how many a box can hold
}

// spareFiles are those of a box that are not its flows'.
const spareFiles = 600

// group is rows that are measured together.
type group struct {
	name    string
	measure func(*bench) error
	apart   bool // the box and its peers have processors of their own
}

var groups = []group{
	{name: "latency", measure: (*bench).latency, apart: true},
	{name: "shared", measure: (*bench).latencyShared},
	{name: "bulk", measure: (*bench).bulkGCM},
	{name: "cbc", measure: (*bench).bulkCBC},
	{name: "plain", measure: (*bench).bulkPlain},
	{name: "rsa", measure: (*bench).handshakeCost},
	{name: "resumed", measure: (*bench).resumedRate},
	{name: "memory", measure: (*bench).memory},
	{name: "decrypt", measure: (*bench).decrypt},
	{name: "growth", measure: (*bench).growth},
	{name: "sniff", measure: (*bench).sniff},
}

func (b *bench) run(only, markdown string) error {
	if b.runs < 1 {
		return fmt.Errorf("-runs %d: at least 1 is needed", b.runs)
	}
	files, err := raiseLimits()
	if err != nil {
		return fmt.Errorf("open files: %w", err)
	}
	b.flows = min(10_000, (files-spareFiles)/2)
	if b.quick {
		b.runs = 1
	}
	dir, err := os.MkdirTemp("", "sightglass-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := makeIdentities(dir); err != nil {
		return err
	}
	b.machine = describeMachine(b.sightglass)
	var errs []error
	for _, g := range groups {
		if only != "" && !strings.Contains(","+only+",", ","+g.name+",") {
			continue
		}
		if err := b.measure(g, dir); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.name, err))
		}
		if b.ctx.Err() != nil {
			break
		}
	}
	return errors.Join(append(errs, b.report(markdown))...)
}

// measure has a group measured between hosts of its own: the peers' gigabytes for what is sent in bulk, and the connections
// that were, shall not be in the way of the next.
func (b *bench) measure(g group, dir string) (err error) {
	begun := time.Now()
	var on cpus
	if g.apart {
		if on, err = apart(); err != nil {
			return err
		}
	}
	if b.lab, err = newLab(dir, on); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.lab.close()) }()
	b.row, b.profiled = g.name, 0
	err = g.measure(b)
	fmt.Fprintf(os.Stderr, "bench: %s took %.0f s\n", g.name, time.Since(begun).Seconds())
	return err
}

// size chooses between the real and the quick size of a measurement.
func size[T any](b *bench, real, quick T) T {
	if b.quick {
		return quick
	}
	return real
}

// profile is what the program's environment needs to write a profile.
func (b *bench) profile() []string {
	if b.profiles == "" {
		return nil
	}
	b.profiled++
	return []string{fmt.Sprintf("SIGHTGLASS_CPUPROFILE=%s/%s-%d.prof", b.profiles, b.row, b.profiled)}
}
