// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Attachment is a way to tie a program to an interface.
type Attachment uint8

// The ways to attach.
const (
	// AttachAuto is AttachTCX where the kernel has it, and AttachClsact elsewhere.
	AttachAuto Attachment = iota
	// AttachTCX needs Linux 6.6.
	AttachTCX
	// AttachClsact adds a filter to the interface's clsact queueing discipline, made if missing.
	AttachClsact
)

// Direction says what an interface of the box leads to.
type Direction uint8

// The directions.
const (
	// TowardsClients is an interface that new connections come in by.
	TowardsClients Direction = iota
	// TowardsServers is an interface on which only connections that the box has are steered.
	TowardsServers
)

// How the clsact filter is known to later processes.
const (
	filterName     = "sightglass_steer"
	filterPriority = 0x5347
	filterHandle   = 1
	pinPrefix      = "sightglass_steer_"
)

// An attachment is one interface that the program is tied to.
type attachment struct {
	name      string
	direction Direction
	index     int
	link      link.Link          // TCX
	filter    *netlink.BpfFilter // clsact
	madeQdisc bool
}

// Attach ties the program to an interface of the Steer's namespace, in the place of one that an
// earlier process left there. It stays tied to the name: an interface that comes back under the same
// name is attached again.
func (s *Steer) Attach(name string, d Direction) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.attached[name] != nil {
		return fmt.Errorf("interface %s is attached already", name)
	}
	a := &attachment{name: name, direction: d}
	if err := s.home.do(func() error { return s.tie(a) }); err != nil {
		return err
	}
	s.attached[name] = a
	return nil
}

// Detach unties the program from an interface, and leaves nothing there.
func (s *Steer) Detach(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.attached[name]
	if a == nil {
		return fmt.Errorf("interface %s is not attached", name)
	}
	delete(s.attached, name)
	return s.home.do(func() error { return a.end(false) })
}

// tie attaches to the interface that has the name now.
func (s *Steer) tie(a *attachment) error {
	l, err := netlink.LinkByName(a.name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", a.name, err)
	}
	program := s.objects.SteerClient
	if a.direction == TowardsServers {
		program = s.objects.SteerServer
	}
	a.index = l.Attrs().Index
	doing := "attaching the steering program to " + a.name
	if s.cfg.Attachment != AttachClsact {
		err = a.attachTCX(program, s.pinFile(a.name))
		if err == nil || s.cfg.Attachment == AttachTCX || !isUnsupported(err) {
			return explain(doing+" by TCX (Linux 6.6)", err, nil)
		}
	}
	if err := a.attachClsact(program); err != nil {
		return explain(doing+" by clsact", err, nil)
	}
	return removePin(s.pinFile(a.name))
}

// pinFile is where the link to an interface is pinned, empty if it is not.
func (s *Steer) pinFile(name string) string {
	if s.cfg.PinPath == "" || !s.cfg.DropWithoutListener {
		return ""
	}
	return pinFile(s.cfg.PinPath, name)
}

func pinFile(dir, name string) string { return filepath.Join(dir, pinPrefix+name) }

// attachTCX makes a link, or takes over the one that is pinned: then no packet is missed. Whatever
// else a process has left on the interface is removed after that.
func (a *attachment) attachTCX(program *ebpf.Program, pin string) error {
	taken, err := a.takeOver(program, pin)
	if err != nil {
		return err
	}
	if !taken {
		// First, for programs after this one still see the packets; before it they might not let
		// it.
		a.link, err = link.AttachTCX(link.TCXOptions{
			Interface: a.index,
			Program:   program,
			Attach:    ebpf.AttachTCXIngress,
			Anchor:    link.Head(),
		})
		if err != nil {
			return err
		}
		if err := a.pin(pin); err != nil {
			return errors.Join(err, a.link.Close())
		}
	}
	return removeFilter(a.index)
}

// takeOver puts the program into a pinned link of this interface. A pinned link that lost its
// interface is removed.
func (a *attachment) takeOver(program *ebpf.Program, pin string) (bool, error) {
	if pin == "" {
		return false, nil
	}
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("opening the pinned link %s: %w", pin, err)
	}
	if info, err := l.Info(); err == nil && info.TCX() != nil && int(info.TCX().Ifindex) == a.index {
		if err := l.Update(program); err == nil {
			a.link = l
			return true, nil
		}
	}
	return false, errors.Join(l.Unpin(), l.Close())
}

func (a *attachment) pin(file string) error {
	if file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("pinning the link: %w", err)
	}
	if err := a.link.Pin(file); err != nil {
		if err := onBPFFS(filepath.Dir(file)); err != nil {
			return err
		}
		return fmt.Errorf("pinning the link: %w", err)
	}
	return nil
}

// onBPFFS says what is wrong with a directory that links cannot be pinned in.
func onBPFFS(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("pinning the link in %s: %w", dir, err)
	}
	if uint32(st.Type) != unix.BPF_FS_MAGIC {
		return fmt.Errorf("pinning the link: %s is not on a BPF file system (mount -t bpf bpf /sys/fs/bpf)", dir)
	}
	return nil
}

// attachClsact adds the filter, or puts the program into the one that is there.
func (a *attachment) attachClsact(program *ebpf.Program) error {
	err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: a.index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding the queueing discipline clsact (CONFIG_NET_SCH_INGRESS): %w", err)
	}
	a.madeQdisc = err == nil
	filter := steerFilter(a.index)
	filter.Fd = program.FD()
	if err := netlink.FilterReplace(filter); err != nil {
		return fmt.Errorf("adding a filter (CONFIG_NET_CLS_BPF): %w", err)
	}
	a.filter = filter
	return nil
}

func steerFilter(index int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index,
			Parent:    netlink.HANDLE_MIN_INGRESS,
			Handle:    filterHandle,
			Priority:  filterPriority,
			Protocol:  unix.ETH_P_ALL,
		},
		Name:         filterName,
		DirectAction: true,
	}
}

// end unties the interface; with stay only from this process.
func (a *attachment) end(stay bool) error {
	if a.link != nil {
		var err error
		if !stay {
			err = ignoreGone(a.link.Unpin())
		}
		return errors.Join(err, a.link.Close())
	}
	if a.filter == nil || stay {
		return nil
	}
	if err := ignoreGone(netlink.FilterDel(a.filter)); err != nil {
		return fmt.Errorf("removing the filter from %s: %w", a.name, err)
	}
	if a.madeQdisc {
		return removeClsact(a.index)
	}
	return nil
}

// removeClsact takes the queueing discipline off again if nobody else has come to use it.
func removeClsact(index int) error {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil // gone, and all that was on it
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		if filters, err := netlink.FilterList(l, parent); err != nil || len(filters) > 0 {
			return err
		}
	}
	return ignoreGone(netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}))
}

// removeFilter removes the filter that an earlier process left on an interface.
func removeFilter(index int) error {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil
	}
	filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return ignoreGone(err)
	}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Name == filterName {
			return ignoreGone(netlink.FilterDel(steerFilter(index)))
		}
	}
	return nil
}

// ignoreGone drops the errors of removing what is not there.
func ignoreGone(err error) error {
	for _, gone := range []error{fs.ErrNotExist, unix.ENOENT, unix.ENODEV, unix.EINVAL} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// RemoveSteering removes what an earlier process, that dropped connections when it was down, left on
// an interface of the current network namespace. pinPath is its SteerConfig.PinPath. That nothing is
// there is no error.
func RemoveSteering(name, pinPath string) error {
	var errs []error
	if pinPath != "" {
		errs = append(errs, removePin(pinFile(pinPath, name)))
	}
	if l, err := netlink.LinkByName(name); err == nil {
		errs = append(errs, removeFilter(l.Attrs().Index))
	}
	return errors.Join(errs...)
}

func removePin(file string) error {
	if file == "" {
		return nil
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the pinned link: %w", err)
	}
	return nil
}
