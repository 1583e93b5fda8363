// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
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

// Fixed returns a Dialer that connects to one upstream, HOST:PORT, whatever the client dialled, from
// an address of the box. A host name is looked up for each connection, and its addresses are tried in
// turn.
func Fixed(upstream string) Dialer {
	numeric, err := netip.ParseAddrPort(upstream)
	if err == nil {
		return func(ctx context.Context, _, _ netip.AddrPort) (Conn, error) {
			return dial(ctx, numeric)
		}
	}
	return func(ctx context.Context, _, _ netip.AddrPort) (Conn, error) {
		addrs, err := lookUp(ctx, upstream)
		if err != nil {
			return nil, err
		}
		var errs []error
		for _, a := range addrs {
			c, err := dial(ctx, a)
			if err == nil {
				return c, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}
}

func dial(ctx context.Context, to netip.AddrPort) (Conn, error) {
	c, err := sock.Dial(ctx, netip.AddrPort{}, to)
	if err != nil {
		return nil, err // not a Conn that holds a nil
	}
	return c, nil
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
