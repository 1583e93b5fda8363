// SPDX-License-Identifier: Apache-2.0

package tproxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/relay"
	"github.com/sightglass/sightglass/relay/tproxy"
)

// lab is a client, a box that steers everything to four listeners, and a server. Each test in it has
// ports of its own.
type lab struct {
	*nettest.Topology
	*box
	clean string // the box's traces before
}

// TestSteering is the list of what steering does. Programs of the kernel's are loaded once for all of
// it: some kernels take it badly when many are freed at once.
func TestSteering(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		clean := traces(t, top.Box)
		b, err := tryBox(t, top.Box, s, tproxy.Config{}, 4)
		supported(t, err)
		l := &lab{top, b, clean}
		if dirty := traces(t, top.Box); dirty == clean {
			t.Fatal("nothing was set up, or the test does not see it")
		}
		t.Run("addresses are kept", l.addressesAreKept)
		t.Run("legs are equal", l.legsAreEqual)
		t.Run("port taken", l.portTaken)
		t.Run("same port again", l.samePortAgain)
		t.Run("refusing server", l.refusingServer)
		t.Run("box itself", l.boxItself)
		t.Run("others untouched", l.othersUntouched)
		t.Run("rules", l.rules)
		t.Run("reload under load", l.reloadUnderLoad)
		t.Run("counts by rule", l.countsByRule)
		t.Run("open connections stay", l.openConnectionsStay)
		t.Run("hostile policies", l.hostilePolicies)
		t.Run("close leaves nothing", l.closeLeavesNothing)
	}, byClsact)
}

// setRules has the box catch something else.
func (l *lab) setRules(t *testing.T, rules tproxy.Rules) {
	t.Helper()
	if err := l.steering.SetRules(rules); err != nil {
		t.Fatal(err)
	}
}

// expect talks to a server, and checks whether the box was in between.
func (l *lab) expect(t *testing.T, target netip.AddrPort, caught bool) {
	t.Helper()
	before := l.box.relay.Stats().Accepted
	if seen, own := talk(t, l.Topology, target, "x"); seen != own {
		t.Errorf("%v: the server saw %v, not %v", target, seen, own)
	}
	if got := l.box.relay.Stats().Accepted > before; got != caught {
		t.Errorf("%v: caught %v", target, got)
	}
}

func (l *lab) addressesAreKept(t *testing.T) {
	n := 0
	for _, server := range servers {
		for _, port := range []uint16{443, 8443, 1} {
			target := at(server, port)
			echo(t, l.Server, target)
			seen, own := talk(t, l.Topology, target, strings.Repeat("payload ", 50_000))
			n++
			flows := l.ended(n)
			f := flows[n-1]
			if seen != own || f.Client != own || f.Server != target {
				t.Errorf("client %v, seen by the server as %v, by the box as %v to %v", own, seen, f.Client, f.Server)
			}
			if f.Bytes[0] != 400_000 || f.Bytes[1] < 400_000 {
				t.Errorf("bytes %v", f.Bytes)
			}
		}
	}
	if st := l.stats(); st.Caught < uint64(n) || st.Established == 0 || st.Dropped != 0 {
		t.Errorf("stats %+v", st)
	}
	if taken := l.dialer.PortTaken(); taken != 0 {
		t.Errorf("%d ports were taken", taken)
	}
}

// legsAreEqual compares what crossed the two wires.
func (l *lab) legsAreEqual(t *testing.T) {
	for _, server := range servers {
		target := at(server, 443)
		echo(t, l.Server, target)
		legs := make([]*nettest.Capture, 2)
		for i, link := range []string{nettest.BoxClientLink, nettest.BoxServerLink} {
			var err error
			if legs[i], err = l.Box.Capture(link); err != nil {
				t.Fatal(err)
			}
		}
		_, own := talk(t, l.Topology, target, strings.Repeat("0123456789", 100_000))
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
}

func (l *lab) portTaken(t *testing.T) {
	for i, server := range servers {
		client := at([]netip.Addr{nettest.Client4, nettest.Client6}[i], 5555)
		target := at(server, 443)
		echo(t, l.Server, target)
		// A listener of the box's has the client's address and port.
		err := l.Box.Do(func() error {
			ln, err := tproxy.Listen(context.Background(), client.String(), 1)
			if err == nil {
				t.Cleanup(func() { _ = ln[0].Close() })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Client.DialFrom(net.TCPAddrFromAddrPort(client), "tcp", target.String())
		if err != nil {
			t.Fatal(err)
		}
		seen, own := converse(t, c, "x")
		if own != client || seen.Addr() != client.Addr() || seen.Port() == client.Port() {
			t.Errorf("client %v, seen as %v", own, seen)
		}
		if taken := l.dialer.PortTaken(); taken != uint64(i+1) {
			t.Errorf("%d ports counted as taken, want %d", taken, i+1)
		}
	}
}

// samePortAgain: a client that comes again from the port that it just had is caught again, though
// the box keeps the old connection in TIME_WAIT: the server, and so the box, closed first.
func (l *lab) samePortAgain(t *testing.T) {
	ended := len(l.ended(0))
	for i, server := range servers {
		target := at(server, 445)
		hangUp(t, l.Server, target)
		client := at([]netip.Addr{nettest.Client4, nettest.Client6}[i], 6666)
		for round := range 3 {
			c, err := l.Client.DialFrom(net.TCPAddrFromAddrPort(client), "tcp", target.String())
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			got, err := io.ReadAll(c)
			_ = c.Close()
			if seen, _ := netip.ParseAddrPort(string(got)); err != nil || seen.Addr() != client.Addr() {
				t.Errorf("round %d: got %q, %v", round, got, err)
			}
			ended++
			l.ended(ended)
		}
	}
}

func (l *lab) refusingServer(t *testing.T) {
	before := l.box.relay.Stats().Ended[relay.EndedDialFailed]
	for _, server := range servers {
		c, err := l.Client.Dial("tcp", at(server, 9).String())
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v: %v, want a reset", server, err)
		}
	}
	if !eventually(func() bool { return l.box.relay.Stats().Ended[relay.EndedDialFailed] == before+2 }) {
		t.Errorf("stats %+v", l.box.relay.Stats())
	}
}

// boxItself: any port is caught, but not on the box's own addresses; and a service of the box's on all
// addresses gets what is for the box only.
func (l *lab) boxItself(t *testing.T) {
	echo(t, l.Box, netip.AddrPortFrom(netip.IPv6Unspecified(), 22))
	for _, own := range []netip.Addr{nettest.BoxClient4, nettest.BoxClient6, nettest.BoxServer4, nettest.BoxServer6} {
		l.expect(t, at(own, 22), false)
	}
	for _, server := range servers {
		hangUp(t, l.Server, at(server, 22)) // tells it from the box's own, which echoes
		c, err := l.Client.Dial("tcp", at(server, 22).String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if want := c.LocalAddr().String(); err != nil || string(got) != want {
			t.Errorf("%v: got %q, %v, want %q", server, got, err, want)
		}
		_ = c.Close()
	}
	l.listenerItself(t)
}

// listenerItself refuses a client that connects to the listener: it would go in circles.
func (l *lab) listenerItself(t *testing.T) {
	l.mu.Lock()
	l.fails = nil
	l.mu.Unlock()
	for _, own := range []netip.Addr{nettest.BoxClient4, nettest.BoxClient6} {
		c, err := l.Client.Dial("tcp", at(own, l.dialer.Port).String())
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the listener itself: %v", err)
		}
	}
	if !eventually(func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.fails) == 2 }) || !errors.Is(l.fails[0], tproxy.ErrDirect) {
		t.Errorf("dial errors %v", l.fails)
	}
}

// othersUntouched: what is not TCP passes, and what comes in by another interface.
func (l *lab) othersUntouched(t *testing.T) {
	before := l.box.relay.Stats().Accepted
	for i, server := range servers {
		client := []netip.Addr{nettest.Client4, nettest.Client6}[i]
		l.datagram(t, at(client, 7000), at(server, 443))
		echo(t, l.Client, at(client, 443))
		c, err := l.Server.Dial("tcp", at(client, 443).String())
		if err != nil {
			t.Fatal(err)
		}
		if seen, own := converse(t, c, "the other way round"); seen != own {
			t.Errorf("%v is seen as %v", own, seen)
		}
	}
	if n := l.box.relay.Stats().Accepted - before; n != 0 {
		t.Errorf("%d were caught", n)
	}
}

// datagram sends one by UDP, and waits for it.
func (l *lab) datagram(t *testing.T, from, to netip.AddrPort) {
	t.Helper()
	var in, out *net.UDPConn
	err := errors.Join(
		l.Server.Do(func() (err error) { in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(to)); return err }),
		l.Client.Do(func() (err error) {
			out, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
			return err
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	if _, err := out.Write([]byte("datagram")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	setDeadline(in)
	n, seen, err := in.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "datagram" || at(seen.Addr().Unmap(), seen.Port()) != from {
		t.Errorf("got %q from %v, %v", buf[:n], seen, err)
	}
}

var prefix = netip.MustParsePrefix

// rules change while it runs: each of these takes the place of the one before.
func (l *lab) rules(t *testing.T) {
	caughtPorts := []tproxy.PortRange{{First: 443, Last: 443}, {First: 8000, Last: 8100}}
	var all []netip.AddrPort
	for _, server := range servers {
		for _, port := range []uint16{443, 444, 7999, 8000, 8100, 8101} {
			all = append(all, at(server, port))
			echo(t, l.Server, at(server, port))
		}
	}
	for _, tc := range []struct {
		name   string
		rules  tproxy.Rules
		caught func(netip.AddrPort) bool
	}{
		{"ports", tproxy.Rules{Ports: caughtPorts}, func(a netip.AddrPort) bool {
			return a.Port() == 443 || a.Port() == 8000 || a.Port() == 8100
		}},
		{"excluded", tproxy.Rules{Exclude: []netip.Prefix{prefix("198.51.100.0/24")}}, func(a netip.AddrPort) bool {
			return a.Addr().Is6()
		}},
		{"included", tproxy.Rules{Include: []netip.Prefix{prefix("198.51.100.2/32")}, Ports: caughtPorts[:1]}, func(a netip.AddrPort) bool {
			return a.Addr().Is4() && a.Port() == 443
		}},
		{"longest counts", tproxy.Rules{
			Include: []netip.Prefix{prefix("198.0.0.0/8"), prefix("198.51.100.2/31"), prefix("2001:db8::/32")},
			Exclude: []netip.Prefix{prefix("198.51.0.0/16"), prefix("2001:db8:5::/64")},
		}, func(a netip.AddrPort) bool { return a.Addr().Is4() }},
		{"named for both", tproxy.Rules{
			Include: []netip.Prefix{prefix("0.0.0.0/0"), prefix("2001:db8:5::/64")},
			Exclude: []netip.Prefix{prefix("2001:db8:5::/64")},
		}, func(a netip.AddrPort) bool { return a.Addr().Is4() }},
		{"nothing", tproxy.Rules{Exclude: []netip.Prefix{prefix("0.0.0.0/0"), prefix("::/0")}}, func(netip.AddrPort) bool { return false }},
		{"everything", tproxy.Rules{}, func(netip.AddrPort) bool { return true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l.setRules(t, tc.rules)
			for _, target := range all {
				l.expect(t, target, tc.caught(target))
			}
		})
	}
	for want, rules := range map[string]tproxy.Rules{
		"no range of ports":    {Ports: []tproxy.PortRange{{First: 9, Last: 8}}},
		"more than the 8000":   {Exclude: make([]netip.Prefix, 8001)},
		"exclude is not valid": {Exclude: make([]netip.Prefix, 1)},
	} {
		for i := range rules.Exclude {
			if len(rules.Exclude) > 1 {
				rules.Exclude[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 32)
			}
		}
		if err := l.steering.SetRules(rules); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	l.expect(t, all[0], true)
}

// reloadUnderLoad: while rules take each other's place, no connection that all of them catch gets by.
func (l *lab) reloadUnderLoad(t *testing.T) {
	target := at(nettest.Server4, 443)
	echo(t, l.Server, target)
	var done atomic.Bool
	changed := make(chan error, 1)
	go func() {
		defer close(changed)
		for i := 0; !done.Load() || i < 20; i++ {
			rules := tproxy.Rules{Ports: []tproxy.PortRange{{First: 443, Last: uint16(443 + i%2)}}}
			if i%3 == 0 {
				rules.Exclude = []netip.Prefix{prefix("203.0.113.0/24")}
			}
			if err := l.steering.SetRules(rules); err != nil {
				changed <- err
				return
			}
		}
	}()
	before := l.box.relay.Stats().Accepted
	const connections = 200
	for range connections {
		talk(t, l.Topology, target, "x")
	}
	done.Store(true)
	if err := <-changed; err != nil {
		t.Fatal(err)
	}
	if n := l.box.relay.Stats().Accepted - before; n != connections {
		t.Errorf("%d of %d were caught", n, connections)
	}
}

// countsByRule counts connections by the rule that decides. What stays keeps its count.
func (l *lab) countsByRule(t *testing.T) {
	for _, port := range []uint16{443, 444} {
		echo(t, l.Server, at(nettest.Server4, port))
		echo(t, l.Server, at(nettest.Server6, port))
	}
	want := func(rules tproxy.Rules, counts string) {
		t.Helper()
		var got []string
		for _, r := range l.stats().Rules {
			got = append(got, fmt.Sprintf("%v: %d", r.Rule, r.Connections))
		}
		if text := strings.Join(got, "\n"); text != counts {
			t.Errorf("%+v: counted\n%s\nwant\n%s", rules, text, counts)
		}
	}
	first := tproxy.Rules{
		Ports:   []tproxy.PortRange{{First: 443, Last: 443}},
		Include: []netip.Prefix{prefix("198.51.0.0/16"), prefix("2001:db8::/32")},
		Exclude: []netip.Prefix{prefix("2001:db8:5::/64")},
	}
	l.setRules(t, first)
	for range 3 {
		l.expect(t, at(nettest.Server4, 443), true)
	}
	l.expect(t, at(nettest.Server4, 444), false)
	l.expect(t, at(nettest.Server6, 443), false)
	l.expect(t, at(nettest.Server6, 444), false)
	want(first, "include 198.51.0.0/16 port 443: 3\ninclude 2001:db8::/32 port 443: 0\nexclude 2001:db8:5::/64 port 443: 1")
	second := first
	second.Exclude = []netip.Prefix{prefix("203.0.113.0/24")}
	l.setRules(t, second)
	l.expect(t, at(nettest.Server4, 443), true)
	l.expect(t, at(nettest.Server6, 443), true)
	want(second, "include 198.51.0.0/16 port 443: 4\ninclude 2001:db8::/32 port 443: 1\nexclude 203.0.113.0/24 port 443: 0")
	l.setRules(t, tproxy.Rules{})
	l.setRules(t, first)
	want(first, "include 198.51.0.0/16 port 443: 0\ninclude 2001:db8::/32 port 443: 0\nexclude 2001:db8:5::/64 port 443: 0")
	l.setRules(t, tproxy.Rules{})
}

// openConnectionsStay whatever becomes of the rules that took them.
func (l *lab) openConnectionsStay(t *testing.T) {
	target := at(nettest.Server6, 443)
	echo(t, l.Server, target)
	before := l.box.relay.Stats().Accepted
	c, err := l.Client.Dial("tcp", target.String())
	if err != nil {
		t.Fatal(err)
	}
	l.setRules(t, tproxy.Rules{Exclude: []netip.Prefix{prefix("::/0")}})
	converse(t, c, strings.Repeat("still here", 10_000))
	if n := l.box.relay.Stats().Accepted - before; n != 1 {
		t.Errorf("caught %d", n)
	}
	l.setRules(t, tproxy.Rules{})
}

// hostilePolicies: the host's own settings may have the mark count where it should not.
func (l *lab) hostilePolicies(t *testing.T) {
	for _, key := range []string{
		"net.ipv4.conf.all.src_valid_mark", "net.ipv4.conf.all.rp_filter", "net.ipv4.tcp_fwmark_accept", "net.ipv4.fwmark_reflect",
		"net.ipv6.fwmark_reflect",
	} {
		if err := l.Box.Sysctl(key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, server := range servers {
		echo(t, l.Server, at(server, 443))
		l.expect(t, at(server, 443), true)
	}
}

func (l *lab) closeLeavesNothing(t *testing.T) {
	l.closeOnce()
	if after := traces(t, l.Box); after != l.clean {
		t.Errorf("left behind:\n%s", after)
	}
	echo(t, l.Server, at(nettest.Server4, 443))
	talk(t, l.Topology, at(nettest.Server4, 443), "forwarded")
	if err := l.steering.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if err := l.steering.SetRules(tproxy.Rules{}); err == nil {
		t.Error("rules were set after the end")
	}
	if _, err := l.steering.Stats(); err == nil {
		t.Error("there were stats after the end")
	}
}

func TestClearErrors(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		clean := traces(t, top.Box)
		for want, cfg := range map[string]tproxy.Config{
			"there is no interface eth7": {Interfaces: []string{"eth7"}},
			"does not fit its mask":      {Mark: 1, MarkMask: 2},
			"no range of ports":          {Rules: tproxy.Rules{Ports: []tproxy.PortRange{{First: 9, Last: 8}}}},
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

// TestListenersShare: the kernel spreads the connections over the listeners.
func TestListenersShare(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		top := nettest.Hosts(t)
		var listeners []net.Listener
		ok(top.Box.Do(func() (err error) {
			listeners, err = tproxy.Listen(context.Background(), "[::]:0", 4)
			return err
		}))
		var steer tproxy.Steering
		err := top.Box.Do(func() (err error) {
			steer, err = tproxy.Setup(tproxy.Config{
				Interfaces: []string{nettest.BoxClientLink}, Rules: onPort(443), Way: s.way, Attachment: s.attachment, Listeners: listeners,
			})
			return err
		})
		supported(t, err)
		var accepting sync.WaitGroup
		accepted := make([]atomic.Int64, len(listeners))
		for i, ln := range listeners {
			accepting.Go(func() {
				for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
					accepted[i].Add(1)
					_ = c.Close()
				}
			})
		}
		for _, server := range servers {
			for range 64 {
				c, err := top.Client.Dial("tcp", at(server, 443).String())
				ok(err)
				if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Error(err)
				}
				_ = c.Close()
			}
			for i := range accepted {
				// For one to get so few by chance is less likely than once in 20,000 times.
				if n := accepted[i].Swap(0); n < 4 {
					t.Errorf("%v: listener %d took %d of 64", server, i, n)
				}
			}
		}
		for _, ln := range listeners {
			ok(ln.Close())
		}
		accepting.Wait()
		ok(steer.Close())
	})
}
