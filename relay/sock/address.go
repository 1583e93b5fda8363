// SPDX-License-Identifier: Apache-2.0

package sock

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// address is a socket address as the kernel has it: one of IPv4 where the family says so.
type address struct {
	raw  unix.RawSockaddrInet6
	size uint32
}

const addressSize = uint32(unsafe.Sizeof(unix.RawSockaddrInet6{}))

func (a *address) family() int { return int(a.raw.Family) }

func (a *address) inet4() *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
}

// port is where the port is, big-endian, in both families.
func (a *address) port() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&a.raw.Port)), 2)
}

func addressOf(to netip.AddrPort) (a address) {
	ip := to.Addr().Unmap()
	if ip.Is4() {
		*a.inet4() = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: ip.As4()}
		a.size = uint32(unsafe.Sizeof(unix.RawSockaddrInet4{}))
	} else {
		a.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: ip.As16(), Scope_id: zoneID(ip.Zone())}
		a.size = addressSize
	}
	binary.BigEndian.PutUint16(a.port(), to.Port())
	return a
}

// addrPort returns IPv4 in its own form, also where an IPv6 socket has it.
func (a *address) addrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(a.port())
	switch a.family() {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4(a.inet4().Addr), port)
	case unix.AF_INET6:
		ip := netip.AddrFrom16(a.raw.Addr).Unmap()
		if a.raw.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(zoneName(int(a.raw.Scope_id)))
		}
		return netip.AddrPortFrom(ip, port)
	}
	return netip.AddrPort{}
}

func zoneName(index int) string {
	if ifi, err := net.InterfaceByIndex(index); err == nil {
		return ifi.Name
	}
	return strconv.Itoa(index)
}

func zoneID(name string) uint32 {
	if name != "" {
		if ifi, err := net.InterfaceByName(name); err == nil {
			return uint32(ifi.Index)
		}
	}
	return 0
}
