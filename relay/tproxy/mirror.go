// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mirror is an interface that frames are written to for others to read.
type Mirror struct {
	name string
	made bool
	nl   *netlink.Handle
}

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenModeNone = 1

// maxMirrorMTU lets frames of any size pass a mirror that was made here.
const maxMirrorMTU = 65535

// EnsureMirror sees to it that an interface is there and up. One that is missing is made: a veth pair
// whose other end, with a p added to the name, gets every frame that is written, as an analyser on
// the interface itself does, too. One that is there is left as it is, and must be up.
func EnsureMirror(name string) (*Mirror, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ-1 {
		return nil, fmt.Errorf("mirror interface %q: from 1 to %d characters", name, unix.IFNAMSIZ-2)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, explain("opening netlink", err)
	}
	m := &Mirror{name: name, nl: h}
	link, err := h.LinkByName(name)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
		err = m.make()
	case err == nil && link.Attrs().RawFlags&unix.IFF_UP == 0:
		err = fmt.Errorf("mirror interface %s is down: ip link set %s up", name, name)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Mirror) make() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = m.name, maxMirrorMTU
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: m.name + "p", PeerMTU: maxMirrorMTU}
	if err := m.nl.LinkAdd(veth); err != nil {
		return explain("making the mirror interface "+m.name, err)
	}
	m.made = true
	for _, end := range []string{m.name, m.name + "p"} {
		link, err := m.nl.LinkByName(end)
		if err != nil {
			return fmt.Errorf("making the mirror interface %s: %w", m.name, err)
		}
		// No word of its own may mix with the mirrored: no router solicitation, no ARP.
		_ = m.nl.LinkSetIP6AddrGenMode(link, addrGenModeNone)
		if err := errors.Join(m.nl.LinkSetARPOff(link), m.nl.LinkSetUp(link)); err != nil {
			return explain("bringing up the mirror interface "+end, err)
		}
	}
	return nil
}

// Made reports whether the interface was made here.
func (m *Mirror) Made() bool { return m.made }

// Close removes the interface if it was made here.
func (m *Mirror) Close() error {
	defer m.nl.Close()
	if !m.made {
		return nil
	}
	m.made = false
	link, err := m.nl.LinkByName(m.name)
	if err == nil {
		err = m.nl.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("removing the mirror interface %s: %w", m.name, err)
	}
	return nil
}
