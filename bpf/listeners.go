// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// maxListeners bounds the listeners of each family, as in steer.c.
const maxListeners = 64

// SetListeners puts these listeners in the place of those before: TCP sockets that listen and have
// IP_TRANSPARENT set. New connections are spread over them by a hash of their addresses and ports. One
// of IPv6 takes both families unless it is IPv6 only. The sockets stay the caller's; one that is closed
// leaves by itself. With none new connections find no listener, and those there are go on.
//
// Before Linux 6.6 it clears SO_REUSEPORT on them, for the kernel refuses sockets that have it.
func (s *Steer) SetListeners(listeners ...syscall.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	slots := listenerSlots{table: s.objects.Listeners}
	for _, l := range listeners {
		if err := control(l, slots.add); err != nil {
			return fmt.Errorf("listener to steer to: %w", err)
		}
	}
	return slots.commit(s.objects.ListenersIpv4, s.objects.ListenersIpv6)
}

// control runs f on a socket's descriptor.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}

// listenerSlots fills the table from the first slot of each family on.
type listenerSlots struct {
	table  *ebpf.Map
	v4, v6 uint32
}

func (l *listenerSlots) add(fd int) error {
	v4, v6, err := checkListener(fd)
	if err != nil {
		return err
	}
	if kernelBefore(6, 6) {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0); err != nil {
			return fmt.Errorf("clearing SO_REUSEPORT: %w", err)
		}
	}
	if v4 {
		if err := l.put(&l.v4, 0, fd); err != nil {
			return err
		}
	}
	if v6 {
		return l.put(&l.v6, maxListeners, fd)
	}
	return nil
}

func (l *listenerSlots) put(n *uint32, base uint32, fd int) error {
	if *n == maxListeners {
		return fmt.Errorf("more than the %d that are possible", maxListeners)
	}
	if err := l.table.Put(base+*n, uint64(fd)); err != nil {
		return explain("adding it", err, nil)
	}
	*n++
	return nil
}

// commit makes the slots that were filled the ones in use, and empties the others.
func (l *listenerSlots) commit(v4, v6 *ebpf.Variable) error {
	for _, family := range []struct {
		n     uint32
		base  uint32
		count *ebpf.Variable
	}{{l.v4, 0, v4}, {l.v6, maxListeners, v6}} {
		if err := family.count.Set(family.n); err != nil {
			return fmt.Errorf("setting the number of listeners: %w", err)
		}
		for i := family.n; i < maxListeners; i++ {
			err := l.table.Delete(family.base + i)
			if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("removing a listener: %w", err)
			}
		}
	}
	return nil
}

// checkListener says which families a socket takes, and refuses one that would not do: the kernel
// would hand it packets all the same, and they would be lost.
func checkListener(fd int) (v4, v6 bool, err error) {
	option := func(level, name int) (value int) {
		if err == nil {
			value, err = unix.GetsockoptInt(fd, level, name)
		}
		return value
	}
	domain := option(unix.SOL_SOCKET, unix.SO_DOMAIN)
	protocol := option(unix.SOL_SOCKET, unix.SO_PROTOCOL)
	listens := option(unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return false, false, fmt.Errorf("reading its options: %w", err)
	}
	var transparent, only6 int
	switch domain {
	case unix.AF_INET:
		transparent = option(unix.SOL_IP, unix.IP_TRANSPARENT)
	case unix.AF_INET6:
		transparent = option(unix.SOL_IPV6, unix.IPV6_TRANSPARENT)
		only6 = option(unix.SOL_IPV6, unix.IPV6_V6ONLY)
	}
	switch {
	case err != nil:
		return false, false, fmt.Errorf("reading its options: %w", err)
	case protocol != unix.IPPROTO_TCP || listens == 0:
		return false, false, errors.New("it is no TCP socket that listens (one of multipath TCP will not do)")
	case transparent == 0:
		return false, false, errors.New("it has no IP_TRANSPARENT")
	}
	return only6 == 0, domain == unix.AF_INET6, nil
}
