// SPDX-License-Identifier: Apache-2.0

package tproxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/relay/tproxy"
)

func TestBothAddressesAreKept(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		b, err := tryBox(t, top.Box, s, tproxy.Config{}, 3)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, server := range servers {
			for _, port := range []uint16{443, 8443, 1} {
				target := at(server, port)
				echo(t, top.Server, target)
				seen, own := talk(t, top, target, strings.Repeat("payload ", 50_000))
				n++
				flows := b.ended(n)
				f := flows[n-1]
				if seen != own || f.Client != own || f.Server != target {
					t.Errorf("client %v, seen by the server as %v, by the box as %v to %v", own, seen, f.Client, f.Server)
				}
				if f.Bytes[0] != 400_000 || f.Bytes[1] < 400_000 {
					t.Errorf("bytes %v", f.Bytes)
				}
			}
		}
		if st := b.stats(); st.Caught < uint64(n) || st.Established == 0 || st.Dropped != 0 {
			t.Errorf("stats %+v", st)
		}
		if taken := b.dialer.PortTaken(); taken != 0 {
			t.Errorf("%d ports were taken", taken)
		}
	})
}

// TestLegsAreEqual compares what crossed the two wires.
func TestLegsAreEqual(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		startBox(t, top.Box, s, tproxy.Config{})
		for _, server := range servers {
			target := at(server, 443)
			echo(t, top.Server, target)
			legs := make([]*nettest.Capture, 2)
			for i, link := range []string{nettest.BoxClientLink, nettest.BoxServerLink} {
				var err error
				if legs[i], err = top.Box.Capture(link); err != nil {
					t.Fatal(err)
				}
			}
			_, own := talk(t, top, target, strings.Repeat("0123456789", 100_000))
			key := nettest.StreamKey{From: own, To: target}
			var streams [2]map[nettest.StreamKey]*nettest.Stream
			for i, leg := range legs {
				frames, err := leg.Stop()
				if err != nil {
					t.Fatal(err)
				}
				if streams[i], err = nettest.Streams(frames); err != nil {
					t.Fatal(err)
				}
			}
			for _, k := range []nettest.StreamKey{key, key.Reverse()} {
				near, far := streams[0][k], streams[1][k]
				if near == nil || far == nil || len(near.Payload) < 1_000_000 || !bytes.Equal(near.Payload, far.Payload) {
					t.Errorf("%v: the legs differ", k)
				}
			}
		}
	})
}

func TestPortsAndNetworks(t *testing.T) {
	caughtPorts := []tproxy.PortRange{{First: 443, Last: 443}, {First: 8000, Last: 8100}}
	all := map[netip.AddrPort]bool{}
	for _, server := range servers {
		for _, port := range []uint16{443, 444, 7999, 8000, 8100, 8101} {
			all[at(server, port)] = true
		}
	}
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		for target := range all {
			echo(t, top.Server, target)
		}
		prefix := netip.MustParsePrefix
		for _, tc := range []struct {
			name   string
			cfg    tproxy.Config
			caught func(netip.AddrPort) bool
		}{
			{"ports", tproxy.Config{Ports: caughtPorts}, func(a netip.AddrPort) bool {
				return a.Port() == 443 || a.Port() == 8000 || a.Port() == 8100
			}},
			{"excluded", tproxy.Config{Exclude: []netip.Prefix{prefix("198.51.100.0/24")}}, func(a netip.AddrPort) bool {
				return a.Addr().Is6()
			}},
			{"included", tproxy.Config{Include: []netip.Prefix{prefix("198.51.100.2/32")}, Ports: caughtPorts[:1]}, func(a netip.AddrPort) bool {
				return a.Addr().Is4() && a.Port() == 443
			}},
			{"longest counts", tproxy.Config{
				Include: []netip.Prefix{prefix("198.0.0.0/8"), prefix("198.51.100.2/31"), prefix("2001:db8::/32")},
				Exclude: []netip.Prefix{prefix("198.51.0.0/16"), prefix("2001:db8:5::/64")},
			}, func(a netip.AddrPort) bool { return a.Addr().Is4() }},
		} {
			t.Run(tc.name, func(t *testing.T) {
				b := startBox(t, top.Box, s, tc.cfg)
				defer b.closeOnce()
				for target := range all {
					before := b.relay.Stats().Accepted
					if seen, own := talk(t, top, target, "x"); seen != own {
						t.Errorf("%v: the server saw %v, not %v", target, seen, own)
					}
					if caught := b.relay.Stats().Accepted > before; caught != tc.caught(target) {
						t.Errorf("%v: caught %v", target, caught)
					}
				}
			})
		}
	})
}

func TestTheBoxItselfIsNotCaught(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		b := startBox(t, top.Box, s, tproxy.Config{})
		for _, own := range []netip.Addr{nettest.BoxClient4, nettest.BoxClient6, nettest.BoxServer4, nettest.BoxServer6} {
			echo(t, top.Box, at(own, 22))
			talk(t, top, at(own, 22), "to the box itself")
			if n := b.relay.Stats().Accepted; n != 0 {
				t.Fatalf("%v was caught", own)
			}
		}
		// Nor is a client that connects to the listener: it would go in circles.
		for _, own := range []netip.Addr{nettest.BoxClient4, nettest.BoxClient6} {
			c, err := top.Client.Dial("tcp", at(own, b.dialer.Port).String())
			if err == nil {
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the listener itself: %v", err)
			}
		}
		if !eventually(func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.fails) == 2 }) || !errors.Is(b.fails[0], tproxy.ErrDirect) {
			t.Errorf("dial errors %v", b.fails)
		}
	})
}

func TestSourcePortTaken(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		b := startBox(t, top.Box, s, tproxy.Config{})
		for i, server := range servers {
			client := at([]netip.Addr{nettest.Client4, nettest.Client6}[i], 5555)
			target := at(server, 443)
			echo(t, top.Server, target)
			// A listener of the box's has the client's address and port.
			err := top.Box.Do(func() error {
				ln, err := tproxy.Listen(context.Background(), client.String(), 1)
				if err == nil {
					t.Cleanup(func() { _ = ln[0].Close() })
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			c, err := top.Client.DialFrom(net.TCPAddrFromAddrPort(client), "tcp", target.String())
			if err != nil {
				t.Fatal(err)
			}
			seen, own := converse(t, c, "x")
			if own != client || seen.Addr() != client.Addr() || seen.Port() == client.Port() {
				t.Errorf("client %v, seen as %v", own, seen)
			}
			if taken := b.dialer.PortTaken(); taken != uint64(i+1) {
				t.Errorf("%d ports counted as taken, want %d", taken, i+1)
			}
		}
	})
}

// TestSamePortAgain: a client that comes again from the port that it just had is caught again, though
// the box keeps the old connection in TIME_WAIT: the server, and so the box, closed first.
func TestSamePortAgain(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		b := startBox(t, top.Box, s, tproxy.Config{})
		for i, server := range servers {
			target := at(server, 443)
			hangUp(t, top.Server, target)
			client := at([]netip.Addr{nettest.Client4, nettest.Client6}[i], 6666)
			for round := range 3 {
				c, err := top.Client.DialFrom(net.TCPAddrFromAddrPort(client), "tcp", target.String())
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				got, err := io.ReadAll(c)
				_ = c.Close()
				if seen, _ := netip.ParseAddrPort(string(got)); err != nil || seen.Addr() != client.Addr() {
					t.Errorf("round %d: got %q, %v", round, got, err)
				}
				b.ended(3*i + round + 1)
			}
		}
	})
}

// hangUp serves on an address in a host: tells each client its address as seen, and closes.
func hangUp(t *testing.T, host *nettest.Namespace, addr netip.AddrPort) {
	t.Helper()
	ln, err := host.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().String())
			_ = c.Close()
		}
	}()
}

func TestRefusingServer(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		b := startBox(t, top.Box, s, tproxy.Config{})
		for _, server := range servers {
			c, err := top.Client.Dial("tcp", at(server, 9).String())
			if err == nil {
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%v: %v, want a reset", server, err)
			}
		}
		if !eventually(func() bool { return b.relay.Stats().Ended[relay.EndedDialFailed] == 2 }) {
			t.Errorf("stats %+v", b.relay.Stats())
		}
	})
}

// TestHostilePolicies: the host's own settings may have the mark count where it should not.
func TestHostilePolicies(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		for _, key := range []string{
			"net.ipv4.conf.all.src_valid_mark", "net.ipv4.conf.all.rp_filter", "net.ipv4.tcp_fwmark_accept", "net.ipv4.fwmark_reflect",
			"net.ipv6.fwmark_reflect",
		} {
			if err := top.Box.Sysctl(key, "1"); err != nil {
				t.Fatal(err)
			}
		}
		startBox(t, top.Box, s, tproxy.Config{})
		for _, server := range servers {
			echo(t, top.Server, at(server, 443))
			if seen, own := talk(t, top, at(server, 443), "x"); seen != own {
				t.Errorf("seen as %v, not %v", seen, own)
			}
		}
	})
}

// traces lists what steering leaves in a host: tables and rules.
func traces(t *testing.T, host *nettest.Namespace) string {
	t.Helper()
	all, err := host.Traces()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

func TestCloseLeavesNothing(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		clean := traces(t, top.Box)
		b := startBox(t, top.Box, s, tproxy.Config{})
		if dirty := traces(t, top.Box); dirty == clean {
			t.Fatal("nothing was set up, or the test does not see it")
		}
		b.closeOnce()
		if after := traces(t, top.Box); after != clean {
			t.Errorf("left behind:\n%s", after)
		}
		echo(t, top.Server, at(nettest.Server4, 443))
		talk(t, top, at(nettest.Server4, 443), "forwarded")
	})
}

func TestKilledForward(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		clean := traces(t, top.Box)
		for _, server := range servers {
			echo(t, top.Server, at(server, 443))
		}
		cfg := tproxy.Config{Ports: []tproxy.PortRange{{First: 443, Last: 443}}}
		for range 2 { // twice: what is left must not grow
			p, err := startProcess(t, top.Box, s, cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
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
		p, err := startProcess(t, top.Box, s, cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		converse(t, c, "began before")
		talk(t, top, at(nettest.Server6, 443), "caught again")
		p.stop(t)
		if after := traces(t, top.Box); after != clean {
			t.Errorf("left behind:\n%s", after)
		}
	})
}

func TestKilledDrop(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		for _, server := range servers {
			echo(t, top.Server, at(server, 443))
			echo(t, top.Server, at(server, 80))
		}
		cfg := tproxy.Config{Ports: []tproxy.PortRange{{First: 443, Last: 443}}, WhenDown: tproxy.Drop}
		down := func(t *testing.T) {
			t.Helper()
			for _, server := range servers {
				if reachable(top, at(server, 443)) {
					t.Errorf("%v is reached with nothing running", server)
				}
				talk(t, top, at(server, 80), "is not caught and goes on")
			}
		}
		p, err := startProcess(t, top.Box, s, cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		talk(t, top, at(nettest.Server4, 443), "caught")
		p.Kill()
		down(t)
		if p, err = startProcess(t, top.Box, s, cfg, nil); err != nil {
			t.Fatal(err)
		}
		talk(t, top, at(nettest.Server6, 443), "caught again")
		p.stop(t) // in order, and what it was told holds all the same
		down(t)
		if err := top.Box.Do(func() error { _, err := tproxy.Remove(); return err }); err != nil {
			t.Fatal(err)
		}
		talk(t, top, at(nettest.Server4, 443), "forwarded")
	})
}

func TestInstances(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		ports := func(p uint16) []tproxy.PortRange { return []tproxy.PortRange{{First: p, Last: p}} }
		first := startBox(t, top.Box, s, tproxy.Config{Ports: ports(443), Instance: "one"})
		second := startBox(t, top.Box, s, tproxy.Config{Ports: ports(444), Instance: "two"})
		for _, port := range []uint16{443, 444} {
			echo(t, top.Server, at(nettest.Server4, port))
			talk(t, top, at(nettest.Server4, port), "x")
		}
		if a, b := first.relay.Stats().Accepted, second.relay.Stats().Accepted; a != 1 || b != 1 {
			t.Errorf("accepted %d and %d", a, b)
		}
		for want, cfg := range map[string]tproxy.Config{
			"another process steers as instance one": {Ports: ports(445), Instance: "one"},
			"instance two, which runs as process":    {Ports: []tproxy.PortRange{{First: 444, Last: 500}}},
		} {
			if _, err := tryBox(t, top.Box, s, cfg, 1); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
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
		top := nettest.Hosts(t)
		echo(t, top.Server, at(nettest.Server4, 443))
		cfg := tproxy.Config{Instance: "old", WhenDown: tproxy.Drop, Ports: []tproxy.PortRange{{First: 443, Last: 443}}}
		p, err := startProcess(t, top.Box, s, cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.Kill()
		// One that catches something else leaves it as it is, and says so.
		other := startBox(t, top.Box, s, tproxy.Config{Instance: "other", Ports: []tproxy.PortRange{{First: 80, Last: 80}}})
		if w := strings.Join(other.steering.Warnings(), "\n"); !strings.Contains(w, "instance old does not run") {
			t.Errorf("warnings %q", w)
		}
		if reachable(top, at(nettest.Server4, 443)) {
			t.Error("what should drop does not any more")
		}
		// One that catches the same takes its place.
		startBox(t, top.Box, s, tproxy.Config{Instance: "new", Ports: cfg.Ports})
		talk(t, top, at(nettest.Server4, 443), "caught by its successor")
	})
}

func TestClearErrors(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		clean := traces(t, top.Box)
		for want, cfg := range map[string]tproxy.Config{
			"there is no interface eth7": {Interfaces: []string{"eth7"}},
			"does not fit its mask":      {Mark: 1, MarkMask: 2},
			"no range of ports":          {Ports: []tproxy.PortRange{{First: 9, Last: 8}}},
			`instance "a b"`:             {Instance: "a b"},
		} {
			_, err := tryBox(t, top.Box, s, cfg, 1)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, want)
			}
		}
		_, err := startProcess(t, top.Box, s, tproxy.Config{}, func(cmd *exec.Cmd) {
			nettest.MapRoot(cmd) // root of nothing but itself
			cmd.SysProcAttr.Cloneflags &^= syscall.CLONE_NEWNET
		})
		if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN is missing") {
			t.Errorf("without privilege: %v", err)
		}
		if after := traces(t, top.Box); after != clean {
			t.Errorf("left behind:\n%s", after)
		}
	})
}

func TestWarnings(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		if err := top.Box.Sysctl("net.ipv4.ip_forward", "0"); err != nil {
			t.Fatal(err)
		}
		b := startBox(t, top.Box, s, tproxy.Config{})
		if w := b.steering.Warnings(); len(w) != 1 || !strings.Contains(w[0], "sysctl -w net.ipv4.ip_forward=1") {
			t.Errorf("warnings %q", w)
		}
		// What is caught passes all the same.
		echo(t, top.Server, at(nettest.Server4, 443))
		talk(t, top, at(nettest.Server4, 443), "x")
	})
}

func TestMirror(t *testing.T) {
	host := nettest.Host(t, "box")
	err := host.Do(func() error {
		m, err := tproxy.EnsureMirror("mirror0")
		if err != nil {
			return err
		}
		if !m.Made() || !host.HasLink("mirror0") || !host.HasLink("mirror0p") {
			t.Error("the mirror was not made")
		}
		again, err := tproxy.EnsureMirror("mirror0")
		if err != nil {
			return err
		}
		if again.Made() || again.Close() != nil || !host.HasLink("mirror0") {
			t.Error("an interface that was there was not left as it is")
		}
		return m.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if host.HasLink("mirror0") || host.HasLink("mirror0p") {
		t.Error("the mirror was not removed")
	}
}
