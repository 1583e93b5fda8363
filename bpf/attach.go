// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"io/fs"

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

// String is "auto", "tcx" or "clsact".
func (a Attachment) String() string { return [...]string{"auto", "tcx", "clsact"}[a] }

// Direction says what an interface of the box leads to.
type Direction uint8

// The directions.
const (
	// TowardsClients is an interface that new connections come in by.
	TowardsClients Direction = iota
	// TowardsServers is an interface on which only connections that the box has are steered.
	TowardsServers
)

// An attachment is one interface that the program is tied to.
type attachment struct {
	name      string
	direction Direction
	unnamed   bool // by AttachOthers
	index     int

	link     link.Link // TCX
	tookOver bool

	filter    *netlink.BpfFilter // clsact
	madeQdisc bool
}

// Attach ties the program to an interface of the Steer's namespace, in the place of one that an
// earlier process of the instance left there. It stays tied to the name: an interface that comes back
// under the same name is attached again.
func (s *Steer) Attach(name string, d Direction) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if a := s.attached[name]; a != nil && !a.unnamed {
		return fmt.Errorf("interface %s is attached already", name)
	}
	return s.home.do(func() error { return s.attach(&attachment{name: name, direction: d}) })
}

// AttachOthers ties the program TowardsServers to all interfaces that are not attached, for a server's
// answers may come in by any of them, and to those that come later. Left out are loopback, and ports of
// bridges and bonds, which are not where IP begins. Interfaces attached so are free to be named to
// Attach.
func (s *Steer) AttachOthers() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.others = true
	return s.home.do(s.attachOthers)
}

func (s *Steer) attachOthers() error {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("listing the interfaces: %w", err)
	}
	taken := make(map[int]bool)
	for _, a := range s.attached {
		taken[a.index] = true
	}
	var errs []error
	for _, l := range links {
		if taken[l.Attrs().Index] || !endsAtIP(l, links) {
			continue
		}
		err := s.attach(&attachment{name: l.Attrs().Name, direction: TowardsServers, unnamed: true})
		if err != nil && !isGone(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// endsAtIP tells the interfaces by which packets come to IP.
func endsAtIP(l netlink.Link, all []netlink.Link) bool {
	a := l.Attrs()
	if a.RawFlags&unix.IFF_LOOPBACK != 0 {
		return false
	}
	for _, master := range all {
		if master.Attrs().Index == a.MasterIndex {
			return master.Type() == "vrf"
		}
	}
	return true
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

// attach ties to the interface that has the name now, in the place of what had the name here.
func (s *Steer) attach(a *attachment) error {
	l, err := netlink.LinkByName(a.name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", a.name, err)
	}
	a.index = l.Attrs().Index
	before := s.attached[a.name]
	if before != nil && before.index != a.index {
		delete(s.attached, a.name)
		if err := before.end(false); err != nil {
			return err
		}
		before = nil
	}
	if err := s.tie(a); err != nil {
		return err
	}
	s.attached[a.name] = a
	if before == nil {
		return nil
	}
	// A filter, and a link that is pinned, took the other's place. Beside any other link is a new one.
	a.madeQdisc = a.madeQdisc || before.madeQdisc
	return before.end(a.filter != nil || a.tookOver)
}

func (s *Steer) tie(a *attachment) error {
	program := s.objects.SteerClient
	if a.direction == TowardsServers {
		program = s.objects.SteerServer
	}
	doing := "attaching the steering program to " + a.name
	if s.cfg.Attachment != AttachClsact {
		err := s.attachTCX(a, program)
		if err == nil {
			// What an older kernel's way has left.
			return removeFilter(a.index, s.cfg.filterName())
		}
		if s.cfg.Attachment == AttachTCX || !isUnsupported(err) {
			return explain(doing+" by TCX (Linux 6.6)", err, nil)
		}
	}
	if err := a.attachClsact(program, s.cfg.filterName()); err != nil {
		return explain(doing+" by clsact", err, nil)
	}
	return removePin(s.pins.link(a.name))
}

// attachTCX makes a link, or takes over the one that is pinned: then no packet is missed.
func (s *Steer) attachTCX(a *attachment, program *ebpf.Program) (err error) {
	pin := ""
	if s.cfg.DropWithoutListener {
		pin = s.pins.link(a.name)
	}
	if taken, err := a.takeOver(program, pin); taken || err != nil {
		return err
	}
	a.link, err = link.AttachTCX(link.TCXOptions{
		Interface: a.index,
		Program:   program,
		Attach:    ebpf.AttachTCXIngress,
		// Programs after this one see all packets; one before it might not let it.
		Anchor: link.Head(),
	})
	if err != nil || pin == "" {
		return err
	}
	if err := s.pins.pin(a.link, pin); err != nil {
		return errors.Join(err, a.link.Close())
	}
	return nil
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
	info, err := l.Info()
	if err == nil && info.TCX() != nil && int(info.TCX().Ifindex) == a.index && l.Update(program) == nil {
		a.link, a.tookOver = l, true
		return true, nil
	}
	return false, errors.Join(l.Unpin(), l.Close())
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

// isGone tells the errors of what is not there any more.
func isGone(err error) bool {
	for _, gone := range []error{fs.ErrNotExist, unix.ENOENT, unix.ENODEV, unix.EINVAL} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return errors.As(err, new(netlink.LinkNotFoundError))
}

// ignoreGone drops the errors of removing what is not there.
func ignoreGone(err error) error {
	if isGone(err) {
		return nil
	}
	return err
}
