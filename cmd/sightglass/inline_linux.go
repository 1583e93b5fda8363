// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
	"github.com/sightglass/sightglass/sink"
)

// proxy is a running inline.
type proxy struct {
	e           *env
	settings    config.Settings
	engine      *engine
	generations generations
	handler     session.Handler
	fan         *sink.Fan
	metrics     *metrics
	server      *relay.Server
	way         way
}

// runInline relays until ctx ends. again reads the settings once more.
func runInline(ctx context.Context, e *env, s config.Settings, again func() (config.Settings, error)) (err error) {
	harden()
	p := &proxy{e: e, settings: s}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop(nil)
	if p.metrics != nil {
		ln, err := net.Listen("tcp", s.Output.Metrics)
		if err != nil {
			return err
		}
		beside.Go(func() {
			if err := p.metrics.serve(ctx, ln); err != nil {
				stop(err)
			}
		})
	}
	hangups, end := reloads()
	defer end()
	beside.Go(func() { p.reloadOn(ctx, hangups, again) })
	e.warn("%s", p.way.announce)
	if err := p.server.Serve(ctx, p.way.listeners...); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// open does all that can fail before a connection is taken.
func (p *proxy) open(ctx context.Context) (err error) {
	s := &p.settings
	if p.engine, err = openEngine(p.e, s, true); err != nil {
		return err
	}
	if len(p.engine.ring.Pairs()) == 0 && s.KeyLogIn == "" {
		return usagef("inline needs --cert and --key (or --keylog-in)")
	}
	if p.fan, err = inlineOutputs(p.e, &s.Output); err != nil {
		return err
	}
	p.handler = p.fan
	if s.Output.Metrics != "" {
		p.metrics = newMetrics()
		p.handler = handlers{p.metrics, p.fan}
	}
	if err := p.newGeneration(); err != nil {
		return err
	}
	if p.way, err = openWay(ctx, p.e, &s.Inline); err != nil {
		return err
	}
	p.server, err = relay.New(p.relayConfig())
	if err == nil && p.metrics != nil {
		p.addMetrics()
	}
	return err
}

func (p *proxy) relayConfig() relay.Config {
	in := &p.settings.Inline
	return relay.Config{
		NewEngine:        func(f session.Flow) relay.Engine { return p.generations.newSession(f) },
		Dial:             p.way.dial,
		Interface:        p.way.name,
		Observer:         &observer{e: p.e},
		DialTimeout:      time.Duration(in.DialTimeout),
		HandshakeTimeout: time.Duration(in.HandshakeTimeout),
		IdleTimeout:      time.Duration(in.IdleTimeout),
		DrainTimeout:     time.Duration(in.DrainTimeout),
		MaxFlows:         in.MaxFlows,
	}
}

// newGeneration makes the settings and keys at hand those of the flows that come.
func (p *proxy) newGeneration() error {
	policy, err := p.settings.SessionPolicy()
	if err != nil {
		return err
	}
	pool := rsakex.NewPool(p.engine.ring, p.settings.Inline.Workers, 0)
	cfg := p.engine.config(&p.settings, pool, p.handler)
	cfg.Inline, cfg.Policy = true, policy
	p.generations.replace(cfg, pool)
	return nil
}

// reloadOn reads the configuration again at each hangup, until ctx ends.
func (p *proxy) reloadOn(ctx context.Context, hangups <-chan os.Signal, again func() (config.Settings, error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if err := p.reload(again); err != nil {
				p.e.warn("the configuration stays as it was: %s", oneLine(err))
			} else {
				p.e.warn("read the configuration again: %d certificates and keys", len(p.engine.ring.Pairs()))
			}
		}
	}
}

// reload takes the keys, the policy and the networks. What else is changed waits for a restart.
func (p *proxy) reload(again func() (config.Settings, error)) error {
	s, err := again()
	if err != nil {
		return err
	}
	ring, err := loadRing(p.e, s.Keys)
	if err != nil {
		return err
	}
	if err := p.way.reload(&s); err != nil {
		return err
	}
	p.engine.ring = ring
	p.settings.Keys, p.settings.Match, p.settings.Policy = s.Keys, s.Match, s.Policy
	p.settings.Inline.Workers, p.settings.Inline.MaxHandshake = s.Inline.Workers, s.Inline.MaxHandshake
	return p.newGeneration()
}

// close gives up everything, the network first. It is called once, whatever was opened.
func (p *proxy) close() error {
	var errs []error
	errs = append(errs, p.way.close())
	p.generations.close()
	if p.fan != nil {
		errs = append(errs, p.fan.Close())
		reportDrops(p.e, p.fan)
	}
	if p.engine != nil {
		errs = append(errs, p.engine.close())
	}
	return errors.Join(errs...)
}

// inlineOutputs opens what comes out; with nothing to write, a line for each flow.
func inlineOutputs(e *env, o *config.Output) (*sink.Fan, error) {
	out := openOutputs(e, o, liveOptions(o))
	if tellsPeople(o) {
		out.writer(e.stdout, func(w *sink.Output) sink.Sink {
			return sink.NewSummary(w, sink.SummaryOptions{Lines: true, Table: true, Colour: e.colour()})
		})
	}
	return out.done()
}

// reportDrops says what slow outputs missed.
func reportDrops(e *env, fan *sink.Fan) {
	for _, s := range fan.Sinks() {
		if n := s.Dropped(); n > 0 {
			e.warn("%s: %d records were dropped: the output was too slow", s.Name(), n)
		}
	}
}
