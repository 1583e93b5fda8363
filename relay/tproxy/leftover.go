// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// instance is another's table, as it is found in the kernel.
type instance struct {
	name       string
	owner      owner
	known      bool // its owner could be read
	interfaces []string
	ports      []PortRange
}

// clearLeftovers deals with the tables of others and with what this instance left before. The lock of
// this instance is held, so its own leftovers have no process any more.
func (n *nft) clearLeftovers() error {
	found, err := instances(n.conn)
	if err != nil {
		return explain("looking for what was set up before", err)
	}
	for _, other := range found {
		if err := n.clear(other); err != nil {
			return err
		}
	}
	return nil
}

func (n *nft) clear(other instance) error {
	if other.name == n.cfg.Instance {
		// The table itself is replaced, in one step with its successor.
		return n.removeRoutingOf(other)
	}
	overlap := other.overlaps(&n.cfg)
	held, err := takeLock(other.name)
	if errors.Is(err, errLocked) {
		if overlap {
			return fmt.Errorf("instance %s, which runs as process %d, catches %s already", other.name, other.owner.pid, n.cfg.describe())
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("locking instance %s: %w", other.name, err)
	}
	defer held.release()
	if other.owner.whenDown == Drop && !overlap {
		n.warnings = append(n.warnings, fmt.Sprintf(
			"instance %s does not run, and drops what it would catch, as it was told: nft delete table inet %s%s ends that",
			other.name, tablePrefix, other.name))
		return nil
	}
	return errors.Join(n.removeRoutingOf(other), deleteTable(n.conn, tablePrefix+other.name))
}

func (n *nft) removeRoutingOf(other instance) error {
	if !other.known {
		return nil
	}
	return removeRouting(n.nl, other.owner.table)
}

// Remove takes down what instances left that do not run any more, also what drops. It returns the
// names of those it removed.
func Remove() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, explain("opening nftables", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, explain("opening netlink", err)
	}
	defer h.Close()
	found, err := instances(conn)
	if err != nil {
		return nil, explain("looking for what was set up before", err)
	}
	var removed []string
	for _, other := range found {
		held, err := takeLock(other.name)
		if errors.Is(err, errLocked) {
			continue
		}
		if err == nil {
			err = deleteTable(conn, tablePrefix+other.name)
			if err == nil && other.known {
				err = removeRouting(h, other.owner.table)
			}
			held.release()
		}
		if err != nil {
			return removed, err
		}
		removed = append(removed, other.name)
	}
	return removed, nil
}

// instances lists the tables of this program.
func instances(conn *nftables.Conn) ([]instance, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	var all []instance
	for _, t := range tables {
		name, ours := strings.CutPrefix(t.Name, tablePrefix)
		if !ours || !instanceName.MatchString(name) {
			continue
		}
		in := instance{name: name}
		in.read(conn, t)
		all = append(all, in)
	}
	return all, nil
}

// read finds out whose a table is and what it catches. What is missing, as in a table that another
// program changed or is removing, stays empty.
func (in *instance) read(conn *nftables.Conn, t *nftables.Table) {
	t.Family = nftables.TableFamilyINet
	rules, err := conn.GetRules(t, &nftables.Chain{Name: chainSteer, Table: t})
	if err == nil && len(rules) > 0 {
		in.owner, in.known = parseOwner(rules[0].UserData)
	}
	for _, e := range elements(conn, t, setInterfaces) {
		in.interfaces = append(in.interfaces, string(bytes.TrimRight(e.Key, "\x00")))
	}
	in.ports = portRanges(elements(conn, t, setPorts))
}

func elements(conn *nftables.Conn, t *nftables.Table, set string) []nftables.SetElement {
	s, err := conn.GetSetByName(t, set)
	if err != nil {
		return nil
	}
	all, err := conn.GetSetElements(s)
	if err != nil {
		return nil
	}
	return all
}

// portRanges turns an interval set's elements back into ranges.
func portRanges(elements []nftables.SetElement) []PortRange {
	var bounds []nftables.SetElement
	for _, e := range elements {
		if len(e.Key) == 2 {
			bounds = append(bounds, e)
		}
	}
	slices.SortFunc(bounds, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
	var all []PortRange
	for _, e := range bounds {
		port := binary.BigEndian.Uint16(e.Key)
		switch {
		case !e.IntervalEnd:
			all = append(all, PortRange{port, 65535})
		case len(all) > 0:
			all[len(all)-1].Last = port - 1
		}
	}
	return all
}

// overlaps reports whether both catch the same: an interface and a port.
func (in *instance) overlaps(c *Config) bool {
	shares := slices.ContainsFunc(c.Interfaces, func(name string) bool { return slices.Contains(in.interfaces, name) })
	return shares && slices.ContainsFunc(c.ports(), func(a PortRange) bool {
		return slices.ContainsFunc(in.ports, func(b PortRange) bool { return a.First <= b.Last && b.First <= a.Last })
	})
}
