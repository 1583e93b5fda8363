// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/relay/tproxy"
)

// way is how connections come in and go on.
type way struct {
	listeners []net.Listener
	connect   relay.Connect
	upstream  netip.AddrPort // not valid: clients dial the servers,
	lookup    relay.Lookup   // or it is a host name
	name      string         // of the interfaces, for the flows' own record
	announce  string         // what a person is told when it is open
	steering  tproxy.Steering
	dialer    *tproxy.Dialer
}

// openWay opens the way in that the settings ask for.
func openWay(ctx context.Context, e *env, in *config.Inline) (way, error) {
	if in.Transparent() {
		return openTransparent(ctx, e, in)
	}
	return openFixed(ctx, in)
}

// openFixed listens for clients that dial this machine.
func openFixed(ctx context.Context, in *config.Inline) (way, error) {
	ln, err := relay.Listen(ctx, in.Listen)
	if err != nil {
		return way{}, lowPort(err)
	}
	upstream, lookup := relay.Fixed(in.To)
	return way{
		listeners: []net.Listener{ln},
		upstream:  upstream,
		lookup:    lookup,
		announce:  fmt.Sprintf("relaying %v to %s", ln.Addr(), in.To),
	}, nil
}

// defaultListen is where a transparent box accepts: both families, a port that nobody dials.
const defaultListen = "[::]:15443"

// openTransparent steers what passes through this machine to listeners of its own.
func openTransparent(ctx context.Context, e *env, in *config.Inline) (way, error) {
	address := in.Listen
	if address == "" {
		address = defaultListen
	}
	listeners, err := tproxy.Listen(ctx, address, runtime.GOMAXPROCS(0))
	if err != nil {
		return way{}, lowPort(err)
	}
	w := way{listeners: listeners, name: strings.Join(in.Interfaces, ",")}
	w.dialer = &tproxy.Dialer{Port: uint16(listeners[0].Addr().(*net.TCPAddr).Port)}
	w.connect = w.dialer.Connect
	if w.steering, err = tproxy.Setup(steeringConfig(e, in, listeners)); err != nil {
		return way{}, errors.Join(err, w.close())
	}
	for _, warning := range w.steering.Warnings() {
		e.warn("%s", warning)
	}
	w.announce = fmt.Sprintf("transparent on %s, ports %v, steered by %s", strings.Join(in.Interfaces, ", "), in.Ports, w.steering.Kind())
	return w, nil
}

var (
	steerWays = map[config.Choice]tproxy.Way{
		config.SteerAuto: tproxy.Auto, config.SteerNFTables: tproxy.NFTables, config.SteerEBPF: tproxy.EBPF,
	}
	whenDowns = map[config.Choice]tproxy.WhenDown{
		config.WhenDownForward: tproxy.Forward, config.WhenDownDrop: tproxy.Drop,
	}
)

func steeringConfig(e *env, in *config.Inline, listeners []net.Listener) tproxy.Config {
	return tproxy.Config{
		Interfaces: in.Interfaces,
		Rules:      steeringRules(in),
		WhenDown:   whenDowns[in.WhenDown],
		Way:        steerWays[in.Steer],
		Listeners:  listeners,
		OnError:    func(err error) { e.warn("steering: %s", oneLine(err)) },
	}
}

// steeringRules are which servers' connections are taken.
func steeringRules(in *config.Inline) tproxy.Rules {
	rules := tproxy.Rules{Include: in.Include, Exclude: in.Exclude}
	for _, r := range in.Ports.Ranges {
		rules.Ports = append(rules.Ports, tproxy.PortRange(r))
	}
	return rules
}

// reload puts changed ports and networks in force, in one step.
func (w *way) reload(in *config.Inline) error {
	if w.steering == nil {
		return nil
	}
	if err := in.CheckRun(); err != nil {
		return err // no ports are not any port
	}
	return w.steering.SetRules(steeringRules(in))
}

// report says in the end what was steered here.
func (w *way) report(e *env) {
	if w.steering == nil {
		return
	}
	s, err := w.steering.Stats()
	if err != nil {
		e.warn("steering: %v", err)
		return
	}
	e.warn("steering by %s: %d packets to the listener, %d to connections, %d dropped", w.steering.Kind(), s.Caught, s.Established, s.Dropped)
	told := busiest(s.Rules, 20)
	for _, r := range told {
		e.warn("  %v: %d connections", r.Rule, r.Connections)
	}
	if n := len(s.Rules) - len(told); n > 0 {
		e.warn("  and %d rules with fewer", n)
	}
}

// close takes down what was set up. It may be called on a way that was never opened.
func (w *way) close() error {
	var errs []error
	if w.steering != nil {
		errs = append(errs, w.steering.Close())
	}
	for _, ln := range w.listeners {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
