// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How a filter of an instance is known to later processes: by the name. All are of one priority, and
// the handle tells them apart there.
const (
	filterPrefix = "sightglass_"
	// FilterPriority is that of clsact filters, by which a person may delete them ("pref" of tc).
	FilterPriority = 0x5347
	maxHandle      = 64
)

func (cfg *SteerConfig) filterName() string { return filterPrefix + cfg.Instance }

// attachClsact adds the filter, or puts the program into the one that is there.
func (a *attachment) attachClsact(program *ebpf.Program, name string) error {
	err := netlink.QdiscAdd(clsact(a.index))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding the queueing discipline clsact (CONFIG_NET_SCH_INGRESS): %w", err)
	}
	a.madeQdisc = err == nil
	for range maxHandle {
		filters, err := steerFilters(a.index)
		if err != nil {
			return err
		}
		set, filter := netlink.FilterReplace, filters[name]
		if filter == nil {
			set, filter = netlink.FilterAdd, newFilter(a.index, name, filters)
		}
		filter.Fd = program.FD()
		err = set(filter)
		if err == nil {
			a.filter = filter
			return nil
		}
		if !errors.Is(err, unix.EEXIST) { // another process was faster
			return fmt.Errorf("adding a filter (CONFIG_NET_CLS_BPF): %w", err)
		}
	}
	return errors.New("adding a filter: there are too many")
}

func clsact(index int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
}

// newFilter has a handle that no other has.
func newFilter(index int, name string, others map[string]*netlink.BpfFilter) *netlink.BpfFilter {
	handle := uint32(1)
	taken := make(map[uint32]bool)
	for _, f := range others {
		taken[f.Handle] = true
	}
	for taken[handle] {
		handle++
	}
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index,
			Parent:    netlink.HANDLE_MIN_INGRESS,
			Handle:    handle,
			Priority:  FilterPriority,
			Protocol:  unix.ETH_P_ALL,
		},
		Name:         name,
		DirectAction: true,
	}
}

// steerFilters lists the filters of this program's on an interface, by name. An interface that is
// gone, or has no clsact, has none.
func steerFilters(index int) (map[string]*netlink.BpfFilter, error) {
	found := make(map[string]*netlink.BpfFilter)
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return found, nil
	}
	filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		if isGone(err) {
			return found, nil
		}
		return nil, fmt.Errorf("listing the filters of an interface: %w", err)
	}
	for _, f := range filters {
		b, ok := f.(*netlink.BpfFilter)
		if ok && b.Priority == FilterPriority && strings.HasPrefix(b.Name, filterPrefix) {
			b.Parent = netlink.HANDLE_MIN_INGRESS
			found[b.Name] = b
		}
	}
	return found, nil
}

// removeFilter removes the filter that an earlier process left on an interface.
func removeFilter(index int, name string) error {
	filters, err := steerFilters(index)
	if err != nil || filters[name] == nil {
		return err
	}
	return ignoreGone(netlink.FilterDel(filters[name]))
}

// removeClsact takes the queueing discipline off again if nobody else has come to use it.
func removeClsact(index int) error {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil // gone, and all that was on it
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		if filters, err := netlink.FilterList(l, parent); err != nil || len(filters) > 0 {
			return ignoreGone(err)
		}
	}
	return ignoreGone(netlink.QdiscDel(clsact(index)))
}
