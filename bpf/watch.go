// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// unforwarded are destinations that no router forwards to, whatever addresses the box has.
var unforwarded = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("::/127"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// ownPrefixes lists, for the current thread's namespace, what is delivered to the box itself: its
// interfaces' addresses and the table of local routes, which has broadcasts and whole networks, too.
func ownPrefixes() ([]netip.Prefix, error) {
	own := slices.Clone(unforwarded)
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing the addresses of the box: %w", err)
	}
	for _, a := range addresses {
		own = appendHost(own, a.IP)
	}
	local := &netlink.Route{Table: unix.RT_TABLE_LOCAL}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, local, netlink.RT_FILTER_TABLE)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("listing the local routes of the box: %w", err)
		}
		for _, r := range routes {
			own = appendNetwork(own, r.Dst)
		}
	}
	slices.SortFunc(own, netip.Prefix.Compare)
	return slices.Compact(own), nil
}

func appendHost(own []netip.Prefix, ip net.IP) []netip.Prefix {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return own
	}
	a = a.Unmap()
	return append(own, netip.PrefixFrom(a, a.BitLen()))
}

// appendNetwork leaves out a default route: a local one serves a proxy, and is not in this table.
func appendNetwork(own []netip.Prefix, n *net.IPNet) []netip.Prefix {
	if n == nil {
		return own
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if ones, _ := n.Mask.Size(); ok && ones > 0 {
		own = append(own, netip.PrefixFrom(a, ones).Masked())
	}
	return own
}

// A subscription tells of changes of addresses, routes and interfaces. What has changed is then looked
// up; only that something has is told.
type subscription struct {
	done      chan struct{}
	addresses chan netlink.AddrUpdate
	routes    chan netlink.RouteUpdate
	links     chan netlink.LinkUpdate
}

func subscribe() (*subscription, error) {
	sub := &subscription{
		done:      make(chan struct{}),
		addresses: make(chan netlink.AddrUpdate),
		routes:    make(chan netlink.RouteUpdate),
		links:     make(chan netlink.LinkUpdate),
	}
	var begun int
	for _, begin := range []func() error{
		func() error { return netlink.AddrSubscribe(sub.addresses, sub.done) },
		func() error { return netlink.RouteSubscribe(sub.routes, sub.done) },
		func() error { return netlink.LinkSubscribe(sub.links, sub.done) },
	} {
		if err := begin(); err != nil {
			sub.abandon(begun)
			return nil, fmt.Errorf("watching addresses and interfaces: %w", err)
		}
		begun++
	}
	return sub, nil
}

// abandon ends a subscription of which so many parts have begun.
func (sub *subscription) abandon(begun int) {
	for _, c := range []func(){
		func() { close(sub.addresses) }, func() { close(sub.routes) }, func() { close(sub.links) },
	}[begun:] {
		c()
	}
	sub.end()
}

// end ends the subscription and waits until its parts have.
func (sub *subscription) end() {
	close(sub.done)
	for range sub.addresses {
	}
	for range sub.routes {
	}
	for range sub.links {
	}
}

// next waits for a change. It reports false when a part of the subscription broke, as it does when
// changes came faster than they were read.
func (sub *subscription) next(stop <-chan struct{}) (ok bool) {
	for {
		select {
		case <-stop:
			return true
		case _, ok = <-sub.addresses:
			return ok
		case _, ok = <-sub.links:
			return ok
		case r, ok := <-sub.routes:
			// A router's other routes come and go by the thousand.
			if !ok || r.Table == unix.RT_TABLE_LOCAL {
				return ok
			}
		}
	}
}

// watch keeps the addresses of the box, and what is attached, as they are. It has looked at them once
// when it returns; the returned function ends it.
func (s *Steer) watch() (stop func(), err error) {
	var sub *subscription
	err = s.home.do(func() (err error) {
		if sub, err = subscribe(); err == nil {
			s.own, err = ownPrefixes()
		}
		return err
	})
	if err != nil {
		if sub != nil {
			sub.end()
		}
		return nil, err
	}
	stopped := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		_ = s.home.do(func() error {
			s.follow(sub, stopped)
			return nil
		})
	})
	return func() {
		close(stopped)
		running.Wait()
	}, nil
}

// follow runs in the Steer's namespace until it is stopped, or changes cannot be followed any more.
func (s *Steer) follow(sub *subscription, stop <-chan struct{}) {
	for {
		ok := sub.next(stop)
		select {
		case <-stop:
			sub.end()
			return
		default:
		}
		if !ok {
			sub.end()
			var err error
			if sub, err = subscribe(); err != nil {
				s.report(err)
				return
			}
		}
		s.refresh()
	}
}

// refresh brings the Steer up to date. All of it was said to be so at the time; a change during it is
// told again.
func (s *Steer) refresh() {
	own, err := ownPrefixes()
	if err == nil {
		err = s.setOwn(own)
	}
	if err := errors.Join(err, s.reattach()); err != nil && !errors.Is(err, errClosed) {
		s.report(err)
	}
}

// reattach ties to interfaces that were replaced by another of the same name, and, if all others are to
// be attached, to those that are new; it forgets those of them that are gone.
func (s *Steer) reattach() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	var errs []error
	for name, a := range s.attached {
		l, err := netlink.LinkByName(name)
		switch {
		case err != nil && a.unnamed && isGone(err):
			delete(s.attached, name)
			errs = append(errs, a.end(false))
		case err == nil && l.Attrs().Index != a.index:
			errs = append(errs, s.attach(&attachment{name: name, direction: a.direction, unnamed: a.unnamed}))
		}
	}
	if s.others {
		errs = append(errs, s.attachOthers())
	}
	return errors.Join(errs...)
}

func (s *Steer) report(err error) {
	if s.cfg.OnError != nil {
		s.cfg.OnError(err)
	}
}
