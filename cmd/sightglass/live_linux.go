// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/relay/tproxy"
	"github.com/sightglass/sightglass/session"
	"github.com/sightglass/sightglass/sink"
)

// live is what comes out of traffic as it happens, for inline and sniff.
type live struct {
	*sink.Fan
	e       *env
	eve     *sink.EVE // nil: none
	server  *sink.Server
	mirror  *tproxy.Mirror
	metrics *metrics
	metered net.Listener
	watched bool // a person follows
	start   time.Time
	table   muting // until it begins: of what never ran there is no table
}

// openLive opens the outputs. Where standard output is free for that, a person gets a line for each flow.
func openLive(e *env, o *config.Output, free bool) (*live, error) {
	l := &live{e: e, start: e.now(), watched: o.Follow && isTerminal(e.stderr)}
	opt := liveOptions(o)
	opt.Failed = func(err error) { e.warn("%s: nothing more is written there", oneLine(err)) }
	out := openOutputs(e, o, opt)
	for _, s := range out.sinks {
		if eve, ok := s.(*sink.EVE); ok {
			l.eve = eve
		}
	}
	if o.PCAPOverIP != "" {
		out.add(func() (sink.Sink, error) { return l.openServer(o.PCAPOverIP) })
	}
	if o.Mirror != "" {
		out.add(func() (sink.Sink, error) { return l.openMirror(o.Mirror) })
	}
	if free && tellsPeople(o) {
		l.table.Writer = e.stdout
		l.table.mute.Store(true)
		out.writer(&l.table, func(w *sink.Output) sink.Sink {
			return sink.NewSummary(w, sink.SummaryOptions{Lines: true, Table: true, Colour: e.colour()})
		})
	}
	var err error
	if l.Fan, err = out.done(); err != nil {
		return nil, errors.Join(err, l.closeRest())
	}
	if o.Metrics != "" {
		if l.metered, err = net.Listen("tcp", o.Metrics); err != nil {
			return nil, errors.Join(fmt.Errorf("metrics: %w", lowPort(err)), l.close())
		}
		l.metrics = newMetrics()
		l.metrics.outputs(l.Sinks())
	}
	return l, nil
}

func (l *live) openServer(address string) (sink.Sink, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("pcap-over-ip: %w", lowPort(err))
	}
	l.server = sink.NewServer(ln, sink.ServerOptions{})
	return l.server, nil
}

func (l *live) openMirror(name string) (sink.Sink, error) {
	var err error
	if l.mirror, err = tproxy.EnsureMirror(name); err != nil {
		return nil, err
	}
	return sink.NewMirror(name, sink.MirrorOptions{})
}

// begin says that all is open and traffic will come.
func (l *live) begin() { l.table.mute.Store(false) }

// handler is what sessions hand their events to.
func (l *live) handler() session.Handler {
	if l.metrics == nil {
		return l.Fan
	}
	return handlers{l.metrics, l.Fan}
}

// statsEvery is how often EVE gets a stats event: Suricata's own interval.
const statsEvery = 8 * time.Second

// beside serves the metrics, writes EVE's stats, and shows a person who follows how it goes, until ctx
// ends. Figures and status are the feed's own.
func (l *live) beside(ctx context.Context, figures func() []sink.Counter, status func() string) {
	if l.metrics != nil {
		var serving sync.WaitGroup
		defer serving.Wait()
		serving.Go(func() {
			if err := l.metrics.serve(ctx, l.metered); err != nil {
				l.e.warn("metrics: %v", err)
			}
		})
	}
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.stats(figures)
			if now := status(); l.watched && now != last {
				last = now
				l.e.warn("%s", now)
			}
		}
	}
}

// stats writes one stats event.
func (l *live) stats(figures func() []sink.Counter) {
	if l.eve == nil {
		return
	}
	counters := figures()
	for _, s := range l.Sinks() {
		counters = append(counters, sink.Counter{Name: "sightglass.output_dropped." + s.Name(), Value: s.Dropped()})
	}
	now := l.e.now()
	l.eve.Stats(now, now.Sub(l.start), counters)
}

// close writes what is left and says what slow outputs missed.
func (l *live) close() error {
	err := l.Close()
	for _, s := range l.Sinks() {
		if n := s.Dropped(); n > 0 {
			l.e.warn("%s: %d records were dropped: the output was too slow, or had failed", s.Name(), n)
		}
	}
	return errors.Join(err, l.closeRest())
}

// closeRest gives up what is no sink.
func (l *live) closeRest() error {
	var errs []error
	if l.metered != nil {
		_ = l.metered.Close() // closed already, if it was served
	}
	if l.mirror != nil {
		errs = append(errs, l.mirror.Close())
	}
	return errors.Join(errs...)
}

// reloadOn calls reload at each hangup, until ctx ends.
func reloadOn(ctx context.Context, hangups <-chan os.Signal, reload func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			reload()
		}
	}
}
