// SPDX-License-Identifier: Apache-2.0

package tproxy_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/bpf"
	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/relay/tproxy"
)

func onPort(p uint16) tproxy.Rules {
	return tproxy.Rules{Ports: []tproxy.PortRange{{First: p, Last: p}}}
}

// mustStart starts a box in a process of its own.
func mustStart(t *testing.T, host *nettest.Namespace, s steering, cfg tproxy.Config) *boxProcess {
	t.Helper()
	p, err := startProcess(t, host, s, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// canSteer ends the test where eBPF cannot be used. It asks without loading anything.
func canSteer(t *testing.T, s steering) {
	t.Helper()
	if s.way == tproxy.EBPF {
		bpfFS(t)
	}
}

func TestKilledForward(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		canSteer(t, s)
		top := nettest.Hosts(t)
		clean := traces(t, top.Box)
		for _, server := range servers {
			echo(t, top.Server, at(server, 443))
		}
		cfg := tproxy.Config{Rules: onPort(443)}
		for range 2 { // twice: what is left must not grow
			p := mustStart(t, top.Box, s, cfg)
			talk(t, top, at(nettest.Server4, 443), "caught")
			p.Kill()
			for _, server := range servers {
				if seen, own := talk(t, top, at(server, 443), "forwarded, unread"); seen != own {
					t.Errorf("%v: seen as %v", server, seen)
				}
			}
		}
		// One that began while nothing ran stays as it is.
		c, err := top.Client.Dial("tcp", at(nettest.Server4, 443).String())
		if err != nil {
			t.Fatal(err)
		}
		p := mustStart(t, top.Box, s, cfg)
		converse(t, c, "began before")
		talk(t, top, at(nettest.Server6, 443), "caught again")
		p.stop(t)
		if after := traces(t, top.Box); after != clean {
			t.Errorf("left behind:\n%s", after)
		}
	}, byClsact)
}

// expectDown checks that nothing on port 443 passes, and that the rest does.
func expectDown(t *testing.T, top *nettest.Topology) {
	t.Helper()
	for _, server := range servers {
		if reachable(top, at(server, 443)) {
			t.Errorf("%v is reached with nothing running", server)
		}
		talk(t, top, at(server, 80), "is not caught and goes on")
	}
}

func serveBoth(t *testing.T, top *nettest.Topology) {
	t.Helper()
	for _, server := range servers {
		echo(t, top.Server, at(server, 443))
		echo(t, top.Server, at(server, 80))
	}
}

func remove(t *testing.T, host *nettest.Namespace, pinPath string) {
	t.Helper()
	if err := host.Do(func() error { _, err := tproxy.Remove(pinPath); return err }); err != nil {
		t.Fatal(err)
	}
}

func TestKilledDrop(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top, pins := nettest.Hosts(t), bpfFS(t)
		clean := traces(t, top.Box)
		serveBoth(t, top)
		cfg := tproxy.Config{Rules: onPort(443), WhenDown: tproxy.Drop, PinPath: pins}
		p := mustStart(t, top.Box, s, cfg)
		talk(t, top, at(nettest.Server4, 443), "caught")
		p.Kill()
		expectDown(t, top)
		p = mustStart(t, top.Box, s, cfg)
		talk(t, top, at(nettest.Server6, 443), "caught again")
		p.stop(t) // in order, and what it was told holds all the same
		expectDown(t, top)
		remove(t, top.Box, pins)
		talk(t, top, at(nettest.Server4, 443), "forwarded")
		if after := traces(t, top.Box); after != clean {
			t.Errorf("left behind:\n%s", after)
		}
	}, byClsact)
}

// TestOtherWay starts one way of steering after the other was killed, of the same instance.
func TestOtherWay(t *testing.T) {
	for _, order := range [][2]steering{{byNftables, byTCX}, {byTCX, byNftables}, {byClsact, byNftables}} {
		t.Run(order[0].name+" then "+order[1].name, func(t *testing.T) {
			top, pins := nettest.Hosts(t), bpfFS(t)
			clean := traces(t, top.Box)
			serveBoth(t, top)
			cfg := tproxy.Config{Rules: onPort(443), WhenDown: tproxy.Drop, PinPath: pins}
			mustStart(t, top.Box, order[0], cfg).Kill()
			expectDown(t, top)
			cfg.WhenDown = tproxy.Forward
			p := mustStart(t, top.Box, order[1], cfg)
			talk(t, top, at(nettest.Server4, 443), "caught")
			if left := traces(t, top.Box); order[1].way == tproxy.EBPF && strings.Contains(left, "table sightglass") ||
				order[1].way == tproxy.NFTables && strings.Contains(left, "program") {
				t.Errorf("the other way's is still there:\n%s", left)
			}
			p.Kill()
			talk(t, top, at(nettest.Server4, 443), "forwarded")
			mustStart(t, top.Box, order[1], cfg).stop(t)
			if after := traces(t, top.Box); after != clean {
				t.Errorf("left behind:\n%s", after)
			}
		})
	}
}

// TestDropThenForward: what an earlier process left to drop does not go on beside a later one.
func TestDropThenForward(t *testing.T) {
	for _, s := range []steering{byTCX, byClsact} {
		t.Run(s.name, func(t *testing.T) {
			top, pins := nettest.Hosts(t), bpfFS(t)
			serveBoth(t, top)
			cfg := tproxy.Config{Rules: onPort(443), WhenDown: tproxy.Drop, PinPath: pins}
			mustStart(t, top.Box, s, cfg).Kill()
			cfg.WhenDown = tproxy.Forward
			p := mustStart(t, top.Box, byTCX, cfg)
			talk(t, top, at(nettest.Server4, 443), "caught")
			p.Kill()
			talk(t, top, at(nettest.Server4, 443), "forwarded")
		})
	}
}

func TestInstances(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		first := startBox(t, top.Box, s, tproxy.Config{Rules: onPort(443), Instance: "one"})
		second := startBox(t, top.Box, s, tproxy.Config{Rules: onPort(444), Instance: "two"})
		for _, port := range []uint16{443, 444} {
			echo(t, top.Server, at(nettest.Server4, port))
			talk(t, top, at(nettest.Server4, port), "x")
		}
		if a, b := first.relay.Stats().Accepted, second.relay.Stats().Accepted; a != 1 || b != 1 {
			t.Errorf("accepted %d and %d", a, b)
		}
		for want, cfg := range map[string]tproxy.Config{
			"another process steers as instance one": {Rules: onPort(445), Instance: "one"},
			"instance two, which runs as process":    {Rules: tproxy.Rules{Ports: []tproxy.PortRange{{First: 444, Last: 500}}}},
		} {
			// What one holds the other way to steer respects, too.
			for _, other := range []steering{byNftables, byTCX} {
				if _, err := tryBox(t, top.Box, other, cfg, 1); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
		}
		err := top.Box.Do(func() error { return first.steering.SetRules(tproxy.Rules{}) })
		if err == nil || !strings.Contains(err.Error(), "instance two, which runs") {
			t.Errorf("rules of another were taken: %v", err)
		}
		first.closeOnce()
		talk(t, top, at(nettest.Server4, 444), "the other goes on")
		if n := second.relay.Stats().Accepted; n != 2 {
			t.Errorf("accepted %d", n)
		}
	})
}

func TestLeftoverOfAnotherInstance(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top, pins := nettest.Hosts(t), bpfFS(t)
		echo(t, top.Server, at(nettest.Server4, 443))
		cfg := tproxy.Config{Instance: "old", WhenDown: tproxy.Drop, Rules: onPort(443), PinPath: pins}
		mustStart(t, top.Box, s, cfg).Kill()
		// One that catches something else leaves it as it is, and says so.
		other := startBox(t, top.Box, byNftables, tproxy.Config{Instance: "other", Rules: onPort(80), PinPath: pins})
		if w := strings.Join(other.steering.Warnings(), "\n"); !strings.Contains(w, "instance old does not run") || strings.Contains(w, "\n") {
			t.Errorf("warnings %q", w)
		}
		if reachable(top, at(nettest.Server4, 443)) {
			t.Error("what should drop does not any more")
		}
		// One that catches the same takes its place.
		startBox(t, top.Box, s, tproxy.Config{Instance: "new", Rules: onPort(443), PinPath: pins})
		talk(t, top, at(nettest.Server4, 443), "caught by its successor")
	})
}

// TestAuto takes eBPF where it can, and says why where it cannot.
func TestAuto(t *testing.T) {
	auto := steering{"auto", tproxy.Auto, bpf.AttachAuto}
	t.Run("possible", func(t *testing.T) {
		canSteer(t, byTCX)
		top := nettest.Hosts(t)
		b := startBox(t, top.Box, auto, tproxy.Config{})
		if kind := b.steering.Kind(); kind != "ebpf" || len(b.steering.Warnings()) != 0 {
			t.Errorf("steers by %s, %q", kind, b.steering.Warnings())
		}
		echo(t, top.Server, at(nettest.Server4, 443))
		talk(t, top, at(nettest.Server4, 443), "caught")
	})
	t.Run("nowhere to stay", func(t *testing.T) {
		top := nettest.Hosts(t)
		b := startBox(t, top.Box, auto, tproxy.Config{WhenDown: tproxy.Drop, PinPath: t.TempDir()})
		w := strings.Join(b.steering.Warnings(), "\n")
		if b.steering.Kind() != "nftables" || !strings.Contains(w, "mount -t bpf") || strings.Contains(w, "\n") {
			t.Errorf("steers by %s, %q", b.steering.Kind(), w)
		}
		echo(t, top.Server, at(nettest.Server4, 443))
		talk(t, top, at(nettest.Server4, 443), "caught")
		_, err := tryBox(t, top.Box, byTCX, tproxy.Config{WhenDown: tproxy.Drop, PinPath: t.TempDir(), Rules: onPort(1), Instance: "x"}, 1)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("steers by eBPF alone: %v", err)
		}
	})
	t.Run("not permitted", func(t *testing.T) {
		// Root of a network of its own may have nftables there, but no programs.
		top := nettest.Hosts(t)
		own := func(cmd *exec.Cmd) { nettest.MapRoot(cmd) }
		p, err := startProcess(t, top.Box, auto, tproxy.Config{Interfaces: []string{"lo"}}, own)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(p.says, "nftables ") || !strings.Contains(p.says, "in place of eBPF: loading the steering program: not permitted") {
			t.Errorf("steers by %s", p.says)
		}
		p.stop(t)
		_, err = startProcess(t, top.Box, byTCX, tproxy.Config{Interfaces: []string{"lo"}}, own)
		if err == nil || !strings.Contains(err.Error(), "not permitted, it takes root or CAP_BPF") {
			t.Errorf("steers by eBPF alone: %v", err)
		}
	})
}

// traces lists what steering leaves in a host.
func traces(t *testing.T, host *nettest.Namespace) string {
	t.Helper()
	all, err := host.Traces()
	if err != nil {
		t.Fatal(err)
	}
	err = host.Do(func() error {
		programs, err := bpf.Instances("")
		for _, p := range programs {
			all = append(all, "program "+p.Name+" on "+strings.Join(p.Interfaces, ","))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}
