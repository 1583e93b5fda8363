// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/bpf"
)

// leftover is what an instance has in the kernel, whether it runs or not.
type leftover struct {
	claim
	tables  []string // of nftables, by name
	program bool     // of eBPF
	filters []string // interfaces that it is on by clsact
}

// remedy says how a person removes it.
func (l leftover) remedy(pinPath string) string {
	var all []string
	for _, name := range l.tables {
		all = append(all, "nft delete table inet "+name)
	}
	if l.program {
		all = append(all, fmt.Sprintf("rm %s/*/*_%s{,_*}", pinPath, l.Instance))
	}
	for _, name := range l.filters {
		all = append(all, fmt.Sprintf("tc filter del dev %s ingress pref %d", name, bpf.FilterPriority))
	}
	return strings.Join(all, "; ")
}

// findLeftovers deals with what instances left that do not run any more: what would be in the way is
// to be removed when this one is in force, so that nothing passes in between that should not.
func (b *base) findLeftovers() error {
	found, err := leftovers(b.tables, b.cfg.PinPath)
	if err != nil {
		return err
	}
	own := b.claim(&b.cfg.Rules)
	for _, l := range found {
		if l.Instance == own.Instance {
			b.left = append(b.left, l)
			continue
		}
		held, err := lockInstance(l.Instance)
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return err
		}
		held.release()
		if l.Drop && !l.overlaps(own) {
			b.warnings = append(b.warnings, fmt.Sprintf(
				"instance %s does not run, and drops what it would catch, as it was told: %s ends that", l.Instance, l.remedy(b.cfg.PinPath)))
			continue
		}
		b.left = append(b.left, l)
	}
	return nil
}

// own returns what an earlier process of the instance left.
func (b *base) own() *leftover {
	for i := range b.left {
		if b.left[i].Instance == b.cfg.Instance {
			return &b.left[i]
		}
	}
	return &leftover{}
}

func (b *base) removeLeftovers() error {
	var errs []error
	for _, l := range b.left {
		if l.Instance == b.cfg.Instance {
			errs = append(errs, l.remove(b.tables, b.cfg.PinPath))
			continue
		}
		held, err := lockInstance(l.Instance)
		if err != nil {
			continue // it was started meanwhile
		}
		errs = append(errs, l.remove(b.tables, b.cfg.PinPath))
		held.release()
	}
	b.left = nil
	return errors.Join(errs...)
}

// remove removes it. The instance's lock is held.
func (l leftover) remove(conn *nftables.Conn, pinPath string) error {
	var errs []error
	for _, name := range l.tables {
		errs = append(errs, deleteTable(conn, name))
	}
	if l.program {
		errs = append(errs, bpf.RemoveSteering(l.Instance, pinPath))
	}
	return errors.Join(errs...)
}

// Remove takes down what instances left that do not run any more, also what drops. It returns the
// names of those it removed. PinPath is as in Config.
func Remove(pinPath string) ([]string, error) {
	if pinPath == "" {
		pinPath = DefaultPinPath
	}
	conn, err := openTables()
	if err != nil {
		return nil, explain("opening nftables", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, explain("opening netlink", err)
	}
	defer h.Close()
	found, err := leftovers(conn, pinPath)
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, l := range found {
		held, err := lockInstance(l.Instance)
		if errors.Is(err, errLocked) {
			continue
		}
		if err == nil {
			err = l.remove(conn, pinPath)
			held.release()
		}
		if err != nil {
			return removed, err
		}
		removed = append(removed, l.Instance)
	}
	return removed, removeStaleRouting(h, 0)
}

// leftovers lists what instances have in the kernel, by name.
func leftovers(conn *nftables.Conn, pinPath string) ([]leftover, error) {
	found := make(map[string]*leftover)
	of := func(name string) *leftover {
		if found[name] == nil {
			found[name] = &leftover{claim: claim{Instance: name}}
		}
		return found[name]
	}
	if err := addTables(conn, of); err != nil && !isMissing(err) {
		return nil, explain("looking for tables of nftables that were set up before", err)
	}
	if err := addPrograms(pinPath, of); err != nil {
		return nil, fmt.Errorf("looking for eBPF programs that were set up before: %w", err)
	}
	var all []leftover
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, *found[name])
	}
	return all, nil
}

// addPrograms adds what eBPF left.
func addPrograms(pinPath string, of func(string) *leftover) error {
	found, err := bpf.Instances(pinPath)
	if errors.Is(err, fs.ErrPermission) {
		return nil // not for this process to see, nor to have left
	}
	if err != nil {
		return err
	}
	for _, i := range found {
		l := of(i.Name)
		l.program = true
		if c, ok := parseClaim(i.About); ok {
			l.merge(c)
		}
	}
	filters, err := bpf.Instances("")
	for _, i := range filters {
		of(i.Name).filters = i.Interfaces
	}
	return err
}

// merge adds what another source knows of the same instance.
func (l *leftover) merge(c claim) {
	l.PID = c.PID
	l.Drop = l.Drop || c.Drop
	l.Interfaces = append(l.Interfaces, c.Interfaces...)
	l.Ports = append(l.Ports, explicit(c.Ports)...)
}

// addTables adds what nftables has.
func addTables(conn *nftables.Conn, of func(string) *leftover) error {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return err
	}
	for _, t := range tables {
		name, ours := strings.CutPrefix(strings.TrimSuffix(t.Name, tableSuffix), tablePrefix)
		if !ours || !validInstance(name) {
			continue
		}
		l := of(name)
		l.tables = append(l.tables, t.Name)
		l.merge(readTable(conn, t))
	}
	return nil
}

// readTable finds out whose a table is and what it catches. What is missing, as in a table that another
// program changed or is removing, stays empty.
func readTable(conn *nftables.Conn, t *nftables.Table) (c claim) {
	t.Family = nftables.TableFamilyINet
	rules, err := conn.GetRules(t, &nftables.Chain{Name: chainSteer, Table: t})
	if err == nil && len(rules) > 0 {
		c.PID, c.Drop = parseOwner(rules[0].UserData)
	}
	sets, err := conn.GetSets(t)
	if err != nil {
		return c
	}
	for _, s := range sets {
		switch {
		case s.Name == setInterfaces:
			for _, e := range elements(conn, s) {
				c.Interfaces = append(c.Interfaces, string(bytes.TrimRight(e.Key, "\x00")))
			}
		case strings.HasPrefix(s.Name, setPorts):
			c.Ports = append(c.Ports, portRanges(elements(conn, s))...)
		}
	}
	return c
}

func elements(conn *nftables.Conn, s *nftables.Set) []nftables.SetElement {
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
