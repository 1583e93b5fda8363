// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sightglass/sightglass/bpf"
	"github.com/sightglass/sightglass/capture"
	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/sink"
)

// maxShunted is how many flows the kernel drops at the same time.
const maxShunted = 1 << 18

// listener is a running sniff.
type listener struct {
	e       *env
	engine  *engine
	live    *live
	pool    *rsakex.Pool
	shunt   *bpf.Shunt // nil: none
	sniffer *capture.Sniffer
}

// runSniff captures until ctx ends.
func runSniff(ctx context.Context, e *env, s config.Settings, sel *selection, withSecrets string) (err error) {
	harden()
	if err := apart(inputFiles(&s), outputFiles(&s.Output, withSecrets)); err != nil {
		return err
	}
	ignorePipes()
	ctx, end := untilHangup(ctx)
	defer end()
	l := &listener{e: e}
	defer func() { err = errors.Join(err, l.close()) }()
	w, finish, err := openCopy(e, withSecrets)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, finish()) }()
	if err := l.open(&s, sel, w); err != nil {
		return err
	}
	l.live.begin()
	aside, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { l.live.beside(aside, l.figures, l.status) })
	e.warn("listening on %s", strings.Join(s.Sniff.Interfaces, ", "))
	err = l.sniffer.Run(ctx)
	stop()
	beside.Wait()
	l.live.stats(l.figures)
	l.report()
	sel.reportMissing(e)
	return err
}

// open does all that can fail; from its end on packets are captured.
func (l *listener) open(s *config.Settings, sel *selection, withSecrets io.Writer) (err error) {
	if l.engine, err = openEngine(l.e, s, true); err != nil {
		return err
	}
	if l.live, err = openLive(l.e, &s.Output, withSecrets != l.e.stdout); err != nil {
		return err
	}
	l.pool = rsakex.NewPool(l.engine.ring, s.Inline.Workers, 0, rsakex.Manners{})
	options := capture.SniffOptions{
		Interfaces:  s.Sniff.Interfaces,
		Session:     l.engine.config(s, l.pool, sel.handler(l.live.handler())),
		Filter:      s.Sniff.Filter,
		Snaplen:     int(s.Sniff.Snaplen),
		RingSize:    int(s.Sniff.RingSize),
		Fanout:      s.Sniff.Fanout,
		Promiscuous: s.Sniff.Promisc,
		Select:      sel.Selection,
		WithSecrets: withSecrets,
		Failed:      func(err error) { l.e.warn("%s; the other interfaces go on", oneLine(err)) },
	}
	if s.Sniff.Shunt {
		if l.shunt, err = bpf.NewShunt(maxShunted, bpf.ShuntPassEnds()); err != nil {
			return fmt.Errorf("--shunt: %w", err)
		}
		options.Shunter = shunter{l.shunt}
	}
	if l.sniffer, err = capture.NewSniffer(options); err != nil {
		return err
	}
	if m := l.live.metrics; m != nil {
		m.gauge("sightglass_key_queue", "Private-key operations that wait.", l.pool.Waiting)
		m.gauge("sightglass_sessions", "Sessions remembered for resumption.", l.engine.store.Len)
		m.registry.MustRegister(captureCollector{l.sniffer.Stats})
	}
	return nil
}

// close gives up everything; the capture has ended.
func (l *listener) close() error {
	var errs []error
	if l.pool != nil {
		l.pool.Close()
	}
	if l.live != nil {
		errs = append(errs, l.live.close())
	}
	if l.shunt != nil {
		errs = append(errs, l.shunt.Close())
	}
	if l.engine != nil {
		errs = append(errs, l.engine.close())
	}
	return errors.Join(errs...)
}

// report says in the end what a person has to know of the capture: above all what is missing from it.
func (l *listener) report() {
	s := l.sniffer.Stats()
	for _, i := range s.Interfaces {
		l.e.warn("%s: %d packets received by the filter, %d dropped by the kernel", i.Name, i.Received, i.Dropped)
	}
	if s.NotCopied > 0 {
		l.e.warn("--with-secrets: %d packets were left out: the output was too slow", s.NotCopied)
	}
	if l.shunt != nil {
		if shunted, err := l.shunt.Stats(); err == nil {
			l.e.warn("shunted: %d flows, %d packets of %d bytes", shunted.Added, shunted.Shunted.Packets, shunted.Shunted.Bytes)
		}
	}
}

// status is how it goes, in a line.
func (l *listener) status() string {
	s := l.sniffer.Stats()
	var dropped uint64
	for _, i := range s.Interfaces {
		dropped += i.Dropped
	}
	return fmt.Sprintf("%d flows open of %d, %d packets, %d dropped by the kernel, %d flows shunted", s.Open, s.Flows, s.Packets, dropped, s.Shunted)
}

// figures are the capture's own, for EVE's stats, in Suricata's words where it has them.
func (l *listener) figures() []sink.Counter {
	s := l.sniffer.Stats()
	var received, dropped, frozen uint64
	for _, i := range s.Interfaces {
		received, dropped, frozen = received+i.Received, dropped+i.Dropped, frozen+i.Frozen
	}
	counters := []sink.Counter{
		{Name: "capture.kernel_packets", Value: received},
		{Name: "capture.kernel_drops", Value: dropped},
		{Name: "sightglass.capture.ring_full", Value: frozen},
		{Name: "decoder.pkts", Value: s.Packets},
		{Name: "decoder.bytes", Value: s.Bytes},
		{Name: "flow.active", Value: uint64(max(0, s.Open))},
		{Name: "flow.total", Value: s.Flows},
		{Name: "tcp.reassembly_gap", Value: s.Streams.Gaps},
		{Name: "sightglass.capture.lost_bytes", Value: s.Streams.Lost},
		{Name: "sightglass.capture.shunted_flows", Value: s.Shunted},
		{Name: "sightglass.sessions", Value: uint64(l.engine.store.Len())},
		{Name: "sightglass.key_queue", Value: uint64(l.pool.Waiting())},
	}
	if l.shunt != nil {
		if shunted, err := l.shunt.Stats(); err == nil {
			counters = append(counters, sink.Counter{Name: "sightglass.capture.shunted_packets", Value: shunted.Shunted.Packets},
				sink.Counter{Name: "sightglass.capture.shunted_bytes", Value: shunted.Shunted.Bytes})
		}
	}
	return counters
}

// shunter is the kernel's table of dropped flows, as a capture wants it.
type shunter struct{ *bpf.Shunt }

// Remove lets a flow through again.
func (s shunter) Remove(client, server netip.AddrPort) (packets, bytes uint64, err error) {
	n, _, err := s.Shunt.Remove(client, server)
	return n.Packets, n.Bytes, err
}

// captureCollector shows the capture's counters as they are when asked.
type captureCollector struct{ stats func() capture.SniffStats }

var (
	descReceived = prometheus.NewDesc("sightglass_capture_packets_total", "Packets that the filter accepted.", []string{"interface"}, nil)
	descDropped  = prometheus.NewDesc("sightglass_capture_drops_total", "Of these, dropped by the kernel.", []string{"interface"}, nil)
	descLost     = prometheus.NewDesc("sightglass_capture_lost_bytes_total", "Bytes of streams that were not seen.", nil, nil)
	descShunted  = prometheus.NewDesc("sightglass_capture_shunted_flows_total", "Flows that the kernel was told to drop.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c captureCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c captureCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	for _, i := range s.Interfaces {
		ch <- prometheus.MustNewConstMetric(descReceived, prometheus.CounterValue, float64(i.Received), i.Name)
		ch <- prometheus.MustNewConstMetric(descDropped, prometheus.CounterValue, float64(i.Dropped), i.Name)
	}
	ch <- prometheus.MustNewConstMetric(descLost, prometheus.CounterValue, float64(s.Streams.Lost))
	ch <- prometheus.MustNewConstMetric(descShunted, prometheus.CounterValue, float64(s.Shunted))
}
