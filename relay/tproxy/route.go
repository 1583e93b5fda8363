// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// routeOwner is the protocol number under which the rules and routes stand: an S.
	routeOwner = 83
	// tableBase and the listeners' port make the number of the routing table.
	tableBase = 0x53470000
	// firstPriority and lastPriority bound where the rules are put: before main, after local.
	firstPriority = 5300
	lastPriority  = 5999
)

// routing delivers marked packets here, whatever their address: a table with one local route, and
// three rules that lead to it.
type routing struct {
	nl       *netlink.Handle
	table    int
	mark     uint32
	mask     uint32
	families []int
}

// setUp adds the rules and the route, for each family that the host has.
func (r *routing) setUp() error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if err := r.setUpFamily(family); err != nil {
			if family == unix.AF_INET6 && ipv6Missing(err) {
				continue
			}
			return explain("setting up the routing of caught packets", err)
		}
		r.families = append(r.families, family)
	}
	return nil
}

func ipv6Missing(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENODEV)
}

func (r *routing) setUpFamily(family int) error {
	lo, err := r.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	err = r.nl.RouteReplace(&netlink.Route{
		Family: family, LinkIndex: lo.Attrs().Index, Dst: everything(family), Table: r.table,
		Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Protocol: routeOwner,
	})
	if err != nil {
		return fmt.Errorf("adding the local route: %w", err)
	}
	priority, err := r.freePriority(family)
	if err != nil {
		return err
	}
	for _, rule := range r.rules(family, priority) {
		if err := r.nl.RuleAdd(rule); err != nil {
			return fmt.Errorf("adding a routing rule: %w", err)
		}
	}
	return nil
}

// rules lead marked packets that came in to the table. What this host sends, and the look-up of the
// way back that the kernel does to check a source address, must not go there though they may bear
// the mark (net.ipv4.tcp_fwmark_accept, net.ipv4.conf.*.src_valid_mark): both come "from lo", and skip.
func (r *routing) rules(family, priority int) []*netlink.Rule {
	skip, lookup, end := r.rule(family, priority), r.rule(family, priority+1), netlink.NewRule()
	skip.IifName, skip.Goto = "lo", priority+2
	lookup.Table = r.table
	end.Family, end.Priority, end.Type, end.Protocol = family, priority+2, nl.FR_ACT_NOP, routeOwner
	// The target first: a rule that leads nowhere would be passed over.
	return []*netlink.Rule{end, skip, lookup}
}

func (r *routing) rule(family, priority int) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Protocol = family, priority, routeOwner
	rule.Mark, rule.Mask = r.mark, &r.mask
	return rule
}

// freePriority finds three priorities in a row that no rule has.
func (r *routing) freePriority(family int) (int, error) {
	rules, err := r.nl.RuleList(family)
	if err != nil {
		return 0, fmt.Errorf("listing the routing rules: %w", err)
	}
	used := make(map[int]bool)
	for _, rule := range rules {
		used[rule.Priority] = true
	}
	for p := firstPriority; p+2 <= lastPriority; p++ {
		if !used[p] && !used[p+1] && !used[p+2] {
			return p, nil
		}
	}
	return 0, fmt.Errorf("the routing rules from %d to %d are all taken", firstPriority, lastPriority)
}

// tableOf is the number of the routing table of a listeners' port.
func tableOf(port uint16) int { return tableBase | int(port) }

// removeStaleRouting removes what leads to the table of own, whose lock is held, and to those of dead
// processes.
func removeStaleRouting(h *netlink.Handle, own uint16) error {
	ports, err := routedPorts(h)
	if err != nil {
		return explain("looking for the routing of others", err)
	}
	errs := []error{removeRouting(h, tableOf(own))}
	for port := range ports {
		held, err := lockPort(port)
		if err != nil {
			continue // its process lives
		}
		errs = append(errs, removeRouting(h, tableOf(port)))
		held.release()
	}
	return errors.Join(errs...)
}

// routedPorts returns the listeners' ports to whose tables rules of this program lead.
func routedPorts(h *netlink.Handle) (map[uint16]bool, error) {
	ports := make(map[uint16]bool)
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := h.RuleList(family)
		if err != nil && family == unix.AF_INET {
			return nil, err
		}
		for _, r := range rules {
			if r.Protocol == routeOwner && r.Table&^0xffff == tableBase {
				ports[uint16(r.Table)] = true
			}
		}
	}
	return ports, nil
}

// removeRouting removes the rules and the route that lead to a table. Nothing there is no error.
func removeRouting(h *netlink.Handle, table int) error {
	var errs []error
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := h.RuleList(family)
		if err != nil {
			if family != unix.AF_INET6 {
				errs = append(errs, fmt.Errorf("listing the routing rules: %w", err))
			}
			continue
		}
		for _, rule := range ofTable(rules, table) {
			if err := h.RuleDel(&rule); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("removing a routing rule: %w", err))
			}
		}
		err = h.RouteDel(&netlink.Route{
			Family: family, Dst: everything(family), Table: table, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
		})
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) && !ipv6Missing(err) {
			errs = append(errs, fmt.Errorf("removing the local route: %w", err))
		}
	}
	return errors.Join(errs...)
}

// ofTable picks the rules that lead to a table, with those around each.
func ofTable(rules []netlink.Rule, table int) []netlink.Rule {
	var own []netlink.Rule
	for _, lookup := range rules {
		if lookup.Protocol != routeOwner || lookup.Table != table {
			continue
		}
		own = append(own, lookup)
		for _, rule := range rules {
			switch {
			case rule.Protocol != routeOwner:
			case rule.Priority == lookup.Priority-1 && rule.Goto == lookup.Priority+1:
				own = append(own, rule)
			case rule.Priority == lookup.Priority+1 && rule.Goto < 0 && rule.Mark == 0:
				rule.Type = nl.FR_ACT_NOP // the list does not tell
				own = append(own, rule)
			}
		}
	}
	return own
}

func everything(family int) *net.IPNet {
	n := net.IPv4len
	if family == unix.AF_INET6 {
		n = net.IPv6len
	}
	return &net.IPNet{IP: make(net.IP, n), Mask: make(net.IPMask, n)}
}
