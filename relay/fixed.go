// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/sightglass/sightglass/relay/sock"
)

// Listen opens a listener for Serve, on an address such as "[::]:443".
func Listen(ctx context.Context, address string) (net.Listener, error) {
	ln, err := sock.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("opening a listener: %w", err)
	}
	return ln, nil
}

func connectPlainly(_, target netip.AddrPort, options ...sock.Option) (int, error) {
	return sock.Connect(netip.AddrPort{}, target, options...)
}

// Fixed returns how a Config leads to one upstream, HOST:PORT: by its address, or by looking up a host name
// for each flow.
func Fixed(upstream string) (netip.AddrPort, Lookup) {
	if numeric, err := netip.ParseAddrPort(upstream); err == nil {
		return netip.AddrPortFrom(numeric.Addr().Unmap(), numeric.Port()), nil // as the kernel tells it
	}
	return netip.AddrPort{}, func(ctx context.Context) ([]netip.AddrPort, error) { return lookUp(ctx, upstream) }
}

func lookUp(ctx context.Context, upstream string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(upstream)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var all []netip.AddrPort
	for _, ip := range ips {
		all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return all, nil
}
