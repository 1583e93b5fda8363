// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/session"
)

// addMetrics adds the figures that the parts of an inline count themselves.
func (p *proxy) addMetrics() {
	p.metrics.outputs(p.fan.Sinks())
	p.metrics.gauge("sightglass_key_queue", "Private-key operations that wait.", p.generations.waiting)
	p.metrics.gauge("sightglass_sessions", "Sessions remembered for resumption.", p.engine.store.Len)
	p.metrics.registry.MustRegister(relayCollector{p.server.Stats})
}

// relayCollector shows the relay's counts as they are when asked.
type relayCollector struct{ stats func() relay.Stats }

var (
	descActive   = prometheus.NewDesc("sightglass_connections_open", "Connections that are dialled or relayed.", nil, nil)
	descAccepted = prometheus.NewDesc("sightglass_connections_total", "Connections accepted.", nil, nil)
	descOver     = prometheus.NewDesc("sightglass_connections_over_limit_total", "Connections reset because of max-flows.", nil, nil)
	descAccept   = prometheus.NewDesc("sightglass_accept_failures_total", "Connections that could not be accepted.", nil, nil)
	descPanics   = prometheus.NewDesc("sightglass_panics_total", "Flows on which this program failed.", nil, nil)
	descEnded    = prometheus.NewDesc("sightglass_connections_ended_total", "Connections that ended, by reason.", []string{"reason"}, nil)
	descRefused  = prometheus.NewDesc("sightglass_refused_total", "Flows refused, by cause.", []string{"cause"}, nil)
	descBytes    = prometheus.NewDesc("sightglass_relayed_bytes_total", "Bytes relayed, by sender.", []string{"side"}, nil)
	descSpliced  = prometheus.NewDesc("sightglass_spliced_bytes_total", "Of these, relayed in the kernel.", []string{"side"}, nil)
)

// Describe implements prometheus.Collector.
func (c relayCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c relayCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	ch <- prometheus.MustNewConstMetric(descActive, prometheus.GaugeValue, float64(s.Active))
	counter(descAccepted, s.Accepted)
	counter(descOver, s.OverLimit)
	counter(descAccept, s.AcceptFailures)
	counter(descPanics, s.Panics)
	for _, r := range relay.Reasons() {
		counter(descEnded, s.Ended[r], r.String())
	}
	for _, cause := range session.Causes() {
		if n := s.Refused[cause]; n > 0 {
			counter(descRefused, n, cause.String())
		}
	}
	for i, side := range []string{"client", "server"} {
		counter(descBytes, s.Bytes[i], side)
		counter(descSpliced, s.Spliced[i], side)
	}
}
