// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Traces lists what a program may have left in the namespace: nftables tables and chains, routing
// rules, routes, interfaces. Two equal lists mean that nothing was left in between.
func (n *Namespace) Traces() ([]string, error) {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	conn, err := nftables.New(nftables.WithNetNSFd(n.Fd()))
	if err != nil {
		return nil, err
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, err
	}
	for _, c := range chains {
		add("table %s chain %s", c.Table.Name, c.Name)
	}
	tables, err := conn.ListTables()
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		add("table %s", t.Name)
	}
	links, err := n.nl.LinkList()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		add("link %s", l.Attrs().Name)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if err := n.routingTraces(family, add); err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return all, nil
}

func (n *Namespace) routingTraces(family int, add func(string, ...any)) error {
	rules, err := n.nl.RuleList(family)
	if err != nil {
		return err
	}
	for _, r := range rules {
		add("family %d rule %d: mark %#x from %q to table %d", family, r.Priority, r.Mark, r.IifName, r.Table)
	}
	routes, err := n.nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Protocol != unix.RTPROT_KERNEL { // those come and go with addresses
			add("family %d route %v table %d type %d", family, r.Dst, r.Table, r.Type)
		}
	}
	return nil
}
