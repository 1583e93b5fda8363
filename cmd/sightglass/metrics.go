// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sightglass/sightglass/session"
	"github.com/sightglass/sightglass/sink"
)

// metrics is what Prometheus may ask for. It takes events as a handler does.
type metrics struct {
	registry *prometheus.Registry
	flows    *prometheus.CounterVec
	open     prometheus.Gauge
	plain    [2]prometheus.Counter
	records  [2]prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		flows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sightglass_flows_total", Help: "Flows that ended, by outcome, cause and action.",
		}, []string{"outcome", "cause", "action"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sightglass_flows_open", Help: "Flows that have not ended.",
		}),
	}
	plain := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sightglass_plaintext_bytes_total", Help: "Plaintext that came out, by sender, counted as flows end.",
	}, []string{"side"})
	records := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sightglass_records_total", Help: "Records opened, by sender, counted as flows end.",
	}, []string{"side"})
	for i, side := range []string{"client", "server"} {
		m.plain[i], m.records[i] = plain.WithLabelValues(side), records.WithLabelValues(side)
	}
	m.registry.MustRegister(m.flows, m.open, plain, records, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sightglass_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": versionText()},
	})
	info.Set(1)
	m.registry.MustRegister(info)
	return m
}

// Event counts flows.
func (m *metrics) Event(e *session.Event) {
	switch e.Kind {
	case session.KindOpen:
		m.open.Inc()
	case session.KindEnd:
		m.open.Dec()
		f := e.Flow
		m.flows.WithLabelValues(f.Outcome.String(), f.Cause.String(), f.Action.String()).Inc()
		for side := range m.plain {
			m.plain[side].Add(float64(f.Plaintext[side]))
			m.records[side].Add(float64(f.Records[side]))
		}
	}
}

// counter and gauge add a figure that is asked for when it is wanted.
func (m *metrics) counter(name, help string, labels prometheus.Labels, value func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
		func() float64 { return float64(value()) }))
}

func (m *metrics) gauge(name, help string, value func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
		func() float64 { return float64(value()) }))
}

// outputs adds what slow consumers missed.
func (m *metrics) outputs(sinks []sink.Sink) {
	for _, s := range sinks {
		m.counter("sightglass_output_dropped_total", "Records that an output was too slow for, or that came after it had failed.",
			prometheus.Labels{"output": s.Name()}, s.Dropped)
	}
}

// serve answers until ctx ends, and returns when nothing of it runs any more.
func (m *metrics) serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
