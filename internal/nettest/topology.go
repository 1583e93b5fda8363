// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"errors"
	"fmt"
	"net/netip"
)

// The interfaces of a Topology.
const (
	ClientLink    = "eth0"    // in the client
	BoxClientLink = "client0" // in the box, towards the client
	BoxServerLink = "server0" // in the box, towards the server
	ServerLink    = "eth0"    // in the server
)

// The addresses of a Topology: those that RFC 5737 and RFC 3849 keep for examples.
var (
	Client4    = netip.MustParseAddr("192.0.2.2")
	Client6    = netip.MustParseAddr("2001:db8:c::2")
	BoxClient4 = netip.MustParseAddr("192.0.2.1")
	BoxClient6 = netip.MustParseAddr("2001:db8:c::1")
	BoxServer4 = netip.MustParseAddr("198.51.100.1")
	BoxServer6 = netip.MustParseAddr("2001:db8:5::1")
	Server4    = netip.MustParseAddr("198.51.100.2")
	Server6    = netip.MustParseAddr("2001:db8:5::2")
)

// A Topology is a client and a server with a box between them that routes, on IPv4 and IPv6. Neither
// peer has any other way to the other.
type Topology struct {
	Client, Box, Server *Namespace
}

// NewTopology makes the three hosts and joins them.
func NewTopology() (*Topology, error) {
	t := &Topology{}
	for _, host := range []struct {
		name string
		to   **Namespace
	}{{"client", &t.Client}, {"box", &t.Box}, {"server", &t.Server}} {
		n, err := New(host.name)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		*host.to = n
	}
	if err := t.join(); err != nil {
		return nil, errors.Join(fmt.Errorf("joining client, box and server: %w", err), t.Close())
	}
	return t, nil
}

func (t *Topology) join() error {
	for _, leg := range []struct {
		host          *Namespace
		link, boxLink string
		host4, host6  netip.Addr
		box4, box6    netip.Addr
	}{
		{t.Client, ClientLink, BoxClientLink, Client4, Client6, BoxClient4, BoxClient6},
		{t.Server, ServerLink, BoxServerLink, Server4, Server6, BoxServer4, BoxServer6},
	} {
		steps := []func() error{
			func() error { return Veth(t.Box, leg.boxLink, leg.host, leg.link) },
			func() error { return leg.host.AddAddr(leg.link, prefix(leg.host4, 24), prefix(leg.host6, 64)) },
			func() error { return t.Box.AddAddr(leg.boxLink, prefix(leg.box4, 24), prefix(leg.box6, 64)) },
			func() error { return leg.host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), leg.box4) },
			func() error { return leg.host.AddRoute(netip.MustParsePrefix("::/0"), leg.box6) },
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
	}
	return t.Box.Forward()
}

func prefix(a netip.Addr, bits int) netip.Prefix { return netip.PrefixFrom(a, bits) }

// Close ends everything that runs in the three hosts and removes them.
func (t *Topology) Close() error {
	var errs []error
	for _, n := range []*Namespace{t.Client, t.Server, t.Box} {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(errs...)
}
