// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Veth joins two namespaces with a cable: interface aName in a, bName in b, both up and running.
func Veth(a *Namespace, aName string, b *Namespace, bName string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aName
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(b.Fd())}
	if err := a.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding veth %s in %s: %w", aName, a.name, err)
	}
	if err := b.Up(bName); err != nil {
		return err
	}
	if err := a.Up(aName); err != nil {
		return err
	}
	if err := a.waitRunning(aName); err != nil {
		return err
	}
	return b.waitRunning(bName)
}

// Up brings an interface up.
func (n *Namespace) Up(name string) error {
	return n.onLink(name, "bringing up", n.nl.LinkSetUp)
}

// Down takes an interface down.
func (n *Namespace) Down(name string) error {
	return n.onLink(name, "taking down", n.nl.LinkSetDown)
}

// SetMTU sets an interface's MTU, in bytes.
func (n *Namespace) SetMTU(name string, mtu int) error {
	return n.onLink(name, "setting the MTU of", func(l netlink.Link) error { return n.nl.LinkSetMTU(l, mtu) })
}

// SetSegments bounds how many TCP segments an interface is given as one packet; 1 keeps packets as small
// as they are on a wire.
func (n *Namespace) SetSegments(name string, most int) error {
	return n.onLink(name, "bounding the segments of", func(l netlink.Link) error { return n.nl.LinkSetGSOMaxSegs(l, most) })
}

// Remove removes an interface, and so the cable it ends.
func (n *Namespace) Remove(name string) error {
	return n.onLink(name, "removing", n.nl.LinkDel)
}

// HasLink reports whether the namespace has an interface of that name.
func (n *Namespace) HasLink(name string) bool {
	_, err := n.nl.LinkByName(name)
	return err == nil
}

func (n *Namespace) onLink(name, doing string, f func(netlink.Link) error) error {
	link, err := n.nl.LinkByName(name)
	if err == nil {
		err = f(link)
	}
	if err != nil {
		return fmt.Errorf("%s %s in %s: %w", doing, name, n.name, err)
	}
	return nil
}

// waitRunning waits for the carrier of an interface whose peer is up.
func (n *Namespace) waitRunning(name string) error {
	return poll(context.Background(), fmt.Sprintf("%s in %s to get a carrier", name, n.name), func() (bool, error) {
		link, err := n.nl.LinkByName(name)
		if err != nil {
			return false, err
		}
		return link.Attrs().RawFlags&unix.IFF_RUNNING != 0, nil
	})
}

// AddAddr gives an interface addresses, usable at once (no duplicate address detection).
func (n *Namespace) AddAddr(name string, prefixes ...netip.Prefix) error {
	return n.onLink(name, "adding addresses to", func(link netlink.Link) error {
		for _, p := range prefixes {
			addr := &netlink.Addr{IPNet: ipNet(p)}
			if p.Addr().Is6() {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := n.nl.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("%v: %w", p, err)
			}
		}
		return nil
	})
}

// AddRoute routes dst through a gateway.
func (n *Namespace) AddRoute(dst netip.Prefix, via netip.Addr) error {
	return n.addRoute(&netlink.Route{}, dst, via)
}

// AddNarrowRoute adds a route by which packets of at most mtu bytes leave, while peers are told the maximum
// segment size mss, as if it was wider.
func (n *Namespace) AddNarrowRoute(dst netip.Prefix, via netip.Addr, mtu, mss int) error {
	return n.addRoute(&netlink.Route{MTU: mtu, AdvMSS: mss}, dst, via)
}

func (n *Namespace) addRoute(route *netlink.Route, dst netip.Prefix, via netip.Addr) error {
	route.Dst, route.Gw = ipNet(dst), via.AsSlice()
	if err := n.nl.RouteAdd(route); err != nil {
		return fmt.Errorf("adding route %v via %v in %s: %w", dst, via, n.name, err)
	}
	return nil
}

// Forward makes the namespace a router, for IPv4 and IPv6.
func (n *Namespace) Forward() error {
	if err := n.Sysctl("net.ipv4.ip_forward", "1"); err != nil {
		return err
	}
	return n.Sysctl("net.ipv6.conf.all.forwarding", "1")
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
