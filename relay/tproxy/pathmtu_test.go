// SPDX-License-Identifier: Apache-2.0

package tproxy_test

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/relay/tproxy"
)

// TestPathMTU: a router behind the box says that a packet is too big for the next link. It says so to
// the client, in whose name the packet was sent; but it is the box that has to send smaller ones.
func TestPathMTU(t *testing.T) {
	forSteerings(t, func(t *testing.T, s steering) {
		top := nettest.Hosts(t)
		far := nettest.Host(t, "far")
		far4, router4 := netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.1")
		far6, router6 := netip.MustParseAddr("2001:db8:f::2"), netip.MustParseAddr("2001:db8:f::1")
		for _, err := range []error{
			nettest.Veth(top.Server, "far0", far, "eth0"),
			// Only the router's end of the link is narrow, so neither peer is told. The far one keeps within
			// it nevertheless: nobody would tell it that its packets are lost there.
			top.Server.SetMTU("far0", 1300),
			top.Server.AddAddr("far0", netip.PrefixFrom(router4, 24), netip.PrefixFrom(router6, 64)),
			far.AddAddr("eth0", netip.PrefixFrom(far4, 24), netip.PrefixFrom(far6, 64)),
			far.AddNarrowRoute(netip.MustParsePrefix("0.0.0.0/0"), router4, 1300, 1460),
			far.AddNarrowRoute(netip.MustParsePrefix("::/0"), router6, 1300, 1440),
			top.Server.Forward(),
			top.Box.AddRoute(netip.MustParsePrefix("203.0.113.0/24"), nettest.Server4),
			top.Box.AddRoute(netip.MustParsePrefix("2001:db8:f::/64"), nettest.Server6),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		b, err := tryBox(t, top.Box, s, tproxy.Config{}, 1)
		supported(t, err)
		for i, addr := range []netip.Addr{far4, far6} {
			echo(t, far, at(addr, 443))
			talk(t, top, at(addr, 443), strings.Repeat("0123456789", 100_000))
			b.ended(i + 1)
		}
		for _, counter := range []string{"FragFails", "Icmp6OutPktTooBigs"} {
			if n := snmp(t, top.Server, counter); n == 0 {
				t.Errorf("the router let all packets pass: its %s is 0", counter)
			}
		}
	})
}

// snmp returns a counter of a namespace, of the IPv4 kind (a column) or the IPv6 kind (a line).
func snmp(t *testing.T, n *nettest.Namespace, counter string) (value uint64) {
	t.Helper()
	err := n.Do(func() error {
		for _, file := range []string{"/proc/thread-self/net/snmp", "/proc/thread-self/net/snmp6"} {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			var names []string
			for line := range strings.Lines(string(text)) {
				fields := strings.Fields(line)
				switch at := slices.Index(names, counter); {
				case fields[0] == counter:
					value, err = strconv.ParseUint(fields[1], 10, 64)
					return err
				case at > 0 && at < len(fields):
					value, err = strconv.ParseUint(fields[at], 10, 64)
					return err
				}
				names = fields
			}
		}
		return errors.New("there is no counter " + counter)
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}
