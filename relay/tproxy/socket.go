// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/sightglass/sightglass/relay/sock"
	"golang.org/x/sys/unix"
)

// ErrPrivilege is in every error that says that CAP_NET_ADMIN is missing.
var ErrPrivilege = errors.New("CAP_NET_ADMIN is missing: run as root, or give the program the capability")

// ErrDirect says that a client connected to the listener itself, not to a server through this host.
var ErrDirect = errors.New("the client connected to the listener itself")

// transparent lets a socket have an address that is not the host's. On an IPv6 socket the one option
// does for both families: the kernel has one flag.
var transparent = sock.Option{Level: unix.SOL_IP, Name: unix.IP_TRANSPARENT, Value: 1}

// Listen opens n listeners on one address, between which the kernel spreads the connections. An
// address such as "[::]:15443" takes both families; port 0 chooses one that is free.
func Listen(ctx context.Context, address string, n int) ([]net.Listener, error) {
	options := []sock.Option{transparent}
	if n > 1 {
		options = append(options, sock.Option{Level: unix.SOL_SOCKET, Name: unix.SO_REUSEPORT, Value: 1})
	}
	var all []net.Listener
	for len(all) < max(n, 1) {
		ln, err := sock.Listen(ctx, "tcp", address, options...)
		if err != nil {
			for _, open := range all {
				_ = open.Close()
			}
			return nil, fmt.Errorf("opening a transparent listener: %w", privilege(err))
		}
		all = append(all, ln)
		address = ln.Addr().String() // the port that was chosen
	}
	return all, nil
}

// Dialer connects to servers in the name of clients.
type Dialer struct {
	// Port is the listeners': a connection whose target is that port of this host itself is refused
	// with ErrDirect, for it would come back here again and again.
	Port uint16
	// Mark is set on the sockets (SO_MARK); zero: none. It is for a host whose own rules have to
	// tell these connections from others.
	Mark uint32

	taken atomic.Uint64
}

// PortTaken returns how many connections could not have their client's own port.
func (d *Dialer) PortTaken() uint64 { return d.taken.Load() }

// Connect begins to connect to target from the client's own address and port, or from another port of its
// address where that one is taken: the pair is still in use, or was until a moment ago. It is a
// relay.Connect.
func (d *Dialer) Connect(client, target netip.AddrPort, options ...sock.Option) (fd int, err error) {
	if target.Port() == d.Port && isLocal(target.Addr()) {
		return -1, fmt.Errorf("%v to %v: %w", client, target, ErrDirect)
	}
	fd, err = d.connectFrom(client, target, options)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL) {
		d.taken.Add(1)
		fd, err = d.connectFrom(netip.AddrPortFrom(client.Addr(), 0), target, options)
	}
	return fd, err
}

func (d *Dialer) connectFrom(local, target netip.AddrPort, options []sock.Option) (fd int, err error) {
	options = append([]sock.Option{transparent, {Level: unix.SOL_SOCKET, Name: unix.SO_REUSEADDR, Value: 1}}, options...)
	if local.Port() == 0 {
		// The port is chosen when both ends are known, so all are free that no other pair has.
		options = append(options, sock.Option{Level: unix.SOL_IP, Name: unix.IP_BIND_ADDRESS_NO_PORT, Value: 1})
	}
	if d.Mark != 0 {
		options = append(options, sock.Option{Level: unix.SOL_SOCKET, Name: unix.SO_MARK, Value: int(d.Mark)})
	}
	if fd, err = sock.Connect(local, target, options...); err != nil {
		return -1, privilege(err)
	}
	return fd, nil
}

// privilege says what is missing where the kernel only says that an option is not permitted.
func privilege(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) && call.Syscall == "setsockopt" && errors.Is(err, unix.EPERM) {
		return fmt.Errorf("making a socket transparent: %w", ErrPrivilege)
	}
	return err
}

// isLocal reports whether an address is this host's own.
func isLocal(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // better one connection refused than one that goes in circles
	}
	for _, own := range addrs {
		if n, ok := own.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == a.Unmap().WithZone("") {
				return true
			}
		}
	}
	return a.IsLoopback() || a.IsUnspecified()
}
