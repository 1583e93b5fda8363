// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/relay/tproxy"
	"github.com/sightglass/sightglass/session"
	"github.com/sightglass/sightglass/sink"
)

// addMetrics adds the figures that the parts of an inline count themselves.
func (p *proxy) addMetrics(m *metrics) {
	m.gauge("sightglass_key_queue", "Private-key operations that wait.", p.generations.waiting)
	m.gauge("sightglass_sessions", "Sessions remembered for resumption.", p.engine.store.Len)
	m.registry.MustRegister(relayCollector{p.server.Stats})
	if d := p.way.dialer; d != nil {
		m.counter("sightglass_port_taken_total", "Connections that could not have their client's own port.", nil, d.PortTaken)
	}
	if s := p.way.steering; s != nil {
		m.registry.MustRegister(steeringCollector{s.Stats})
	}
}

// status is how it goes, in a line.
func (p *proxy) status() string {
	s := p.server.Stats()
	text := fmt.Sprintf("%d connections open of %d, %d bytes to servers, %d to clients", s.Active, s.Accepted,
		s.Bytes[handshake.Client], s.Bytes[handshake.Server])
	if p.way.steering == nil {
		return text
	}
	st, err := p.way.steering.Stats()
	if err != nil {
		return text
	}
	text += fmt.Sprintf("; steered %d packets to the listener, %d to connections, dropped %d", st.Caught, st.Established, st.Dropped)
	for _, r := range busiest(st.Rules, 4) {
		text += fmt.Sprintf("; %v: %d", r.Rule, r.Connections)
	}
	return text
}

// figures are the feed's own, for EVE's stats.
func (p *proxy) figures() []sink.Counter {
	s := p.server.Stats()
	counters := []sink.Counter{
		{Name: "flow.active", Value: s.Active},
		{Name: "flow.total", Value: s.Accepted},
		{Name: "sightglass.relay.bytes_toserver", Value: s.Bytes[handshake.Client]},
		{Name: "sightglass.relay.bytes_toclient", Value: s.Bytes[handshake.Server]},
		{Name: "sightglass.relay.over_limit", Value: s.OverLimit},
		{Name: "sightglass.relay.accept_failures", Value: s.AcceptFailures},
		{Name: "sightglass.relay.panics", Value: s.Panics},
		{Name: "sightglass.sessions", Value: uint64(p.engine.store.Len())},
		{Name: "sightglass.key_queue", Value: uint64(p.generations.waiting())},
	}
	for _, cause := range session.Causes() {
		if n := s.Refused[cause]; n > 0 {
			counters = append(counters, sink.Counter{Name: "sightglass.refused." + cause.String(), Value: n})
		}
	}
	if d := p.way.dialer; d != nil {
		counters = append(counters, sink.Counter{Name: "sightglass.port_taken", Value: d.PortTaken()})
	}
	if p.way.steering != nil {
		if st, err := p.way.steering.Stats(); err == nil {
			counters = append(counters, sink.Counter{Name: "sightglass.steering.caught", Value: st.Caught},
				sink.Counter{Name: "sightglass.steering.established", Value: st.Established},
				sink.Counter{Name: "sightglass.steering.dropped", Value: st.Dropped})
			for _, r := range busiest(st.Rules, 100) {
				counters = append(counters, sink.Counter{Name: "sightglass.steering.rules." + dotless.Replace(r.Rule.String()), Value: r.Connections})
			}
		}
	}
	return counters
}

// busiest returns the rules with the most connections where there are more than most of them.
func busiest(rules []tproxy.RuleStats, most int) []tproxy.RuleStats {
	if len(rules) <= most {
		return rules
	}
	sorted := slices.SortedStableFunc(slices.Values(rules), func(a, b tproxy.RuleStats) int { return cmp.Compare(b.Connections, a.Connections) })
	return sorted[:most]
}

// dotless keeps the names of rules from nesting: dots do in EVE's stats.
var dotless = strings.NewReplacer(".", "_", " ", "_")

// steeringCollector shows how many packets were steered here.
type steeringCollector struct {
	stats func() (tproxy.Stats, error)
}

var (
	descSteered = prometheus.NewDesc("sightglass_steered_packets_total", "Packets by what became of them.", []string{"to"}, nil)
	descRule    = prometheus.NewDesc("sightglass_steered_connections_total", "Connections that began, by the rule that decided.", []string{"rule"}, nil)
)

// Describe implements prometheus.Collector.
func (c steeringCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descSteered
	ch <- descRule
}

// Collect implements prometheus.Collector.
func (c steeringCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.stats()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descSteered, err)
		return
	}
	for to, n := range map[string]uint64{"listener": s.Caught, "connection": s.Established, "nowhere": s.Dropped} {
		ch <- prometheus.MustNewConstMetric(descSteered, prometheus.CounterValue, float64(n), to)
	}
	for _, r := range s.Rules {
		ch <- prometheus.MustNewConstMetric(descRule, prometheus.CounterValue, float64(r.Connections), r.Rule.String())
	}
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
