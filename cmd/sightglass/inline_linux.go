// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// proxy is a running inline.
type proxy struct {
	e           *env
	settings    config.Settings
	engine      *engine
	generations generations
	live        *live
	server      *relay.Server
	way         way
	idle        rsakex.Idle // the loops' moments to spare are the private key's
	processors  int         // that Go might use when the program began
	nice        int         // of the loops' threads, see takePriority
}

// workers is how many operations of the private key are done at once.
func (p *proxy) workers() int {
	if n := p.settings.Inline.Workers; n > 0 {
		return n
	}
	return p.processors
}

// runInline relays until ctx ends. again reads the settings once more.
func runInline(ctx context.Context, e *env, s config.Settings, again func() (config.Settings, error)) (err error) {
	harden()
	if err := apart(inputFiles(&s), outputFiles(&s.Output)); err != nil {
		return err
	}
	ignorePipes()
	nice, err := takePriority(&s.Inline)
	if err != nil {
		return err
	}
	ready := readyHeap()
	_ = prepareHeap(ready) // it is as right without, and slower
	collectLess(collectAt(ready))
	p := &proxy{e: e, settings: s, nice: nice, processors: runtime.GOMAXPROCS(0)}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return err
	}
	p.makeRoom()
	p.live.begin()
	hangups, end := reloads()
	defer end()
	aside, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { p.live.beside(aside, p.figures, p.status) })
	beside.Go(func() { reloadOn(aside, hangups, func() { p.reload(again) }) })
	e.warn("%s", p.way.announce)
	err = p.server.Serve(ctx, p.way.listeners...)
	stop()
	beside.Wait()
	p.live.stats(p.figures)
	p.way.report(e)
	return err
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
	if p.live, err = openLive(p.e, &s.Output, true); err != nil {
		return err
	}
	if err := p.newGeneration(); err != nil {
		return err
	}
	if p.way, err = openWay(ctx, p.e, &s.Inline); err != nil {
		return err
	}
	p.server, err = relay.New(p.relayConfig())
	if err == nil && p.live.metrics != nil {
		p.addMetrics(p.live.metrics)
	}
	return err
}

func (p *proxy) relayConfig() relay.Config {
	in := &p.settings.Inline
	return relay.Config{
		NewEngine:        func(f session.Flow) relay.Engine { return p.generations.newSession(f) },
		Connect:          p.way.connect,
		Upstream:         p.way.upstream,
		Lookup:           p.way.lookup,
		Room:             func() bool { return p.generations.filled() <= maxFilled },
		Interface:        p.way.name,
		Observer:         &observer{e: p.e},
		Chore:            func() relay.Chore { return p.idle.Stepper() },
		Nice:             p.nice,
		KeepAwake:        in.KeepAwake,
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
	pool := rsakex.NewPool(p.engine.ring, p.workers(), keyQueue, rsakex.Manners{Prepare: giveWay, Idle: &p.idle})
	cfg := p.engine.config(&p.settings, pool, p.live.handler())
	cfg.Inline, cfg.Policy = true, policy
	p.generations.replace(cfg, pool)
	return nil
}

// makeRoom has Go use more processors at once than there are, for what the private key's workers do: one holds its place for the
// whole of an operation, and without more of them all could be at it, and bytes would wait.
func (p *proxy) makeRoom() {
	if !p.engine.ring.Interruptible() {
		runtime.GOMAXPROCS(p.processors + p.workers())
	}
}

// reload reads the configuration again, and says how that went.
func (p *proxy) reload(again func() (config.Settings, error)) {
	if err := p.takeSettings(again); err != nil {
		p.e.warn("the configuration stays as it was: %s", oneLine(err))
		return
	}
	p.e.warn("read the configuration again: %d certificates and keys", len(p.engine.ring.Pairs()))
}

// takeSettings takes the keys, the policy and the networks, for the flows that come. What else is
// changed waits for a restart.
func (p *proxy) takeSettings(again func() (config.Settings, error)) error {
	s, err := again()
	if err != nil {
		return err
	}
	ring, err := loadRing(p.e, s.Keys)
	if err != nil {
		return err
	}
	if err := p.way.reload(&s.Inline); err != nil {
		return err
	}
	p.engine.ring = ring
	p.settings.Keys, p.settings.Match, p.settings.Policy = s.Keys, s.Match, s.Policy
	p.settings.Inline.Workers, p.settings.Inline.MaxHandshake = s.Inline.Workers, s.Inline.MaxHandshake
	p.makeRoom()
	return p.newGeneration()
}

// close gives up everything, the network first. It is called once, whatever was opened.
func (p *proxy) close() error {
	var errs []error
	errs = append(errs, p.way.close())
	p.generations.close()
	if p.live != nil {
		errs = append(errs, p.live.close())
	}
	if p.engine != nil {
		errs = append(errs, p.engine.close())
	}
	return errors.Join(errs...)
}
