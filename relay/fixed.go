// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keepAlive is after how long without a byte a peer is asked whether it is still there.
const keepAlive = 2 * time.Minute

// Listen opens a listener for Serve. What its connections need is set on it once, and inherited.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	return ListenControl(ctx, "tcp", address, nil)
}

// ListenControl is Listen with more to be done to the socket before it is bound; control may be nil.
func ListenControl(ctx context.Context, network, address string, control func(fd int) error) (net.Listener, error) {
	lc := net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, c syscall.RawConn) error {
			var inner error
			err := c.Control(func(fd uintptr) {
				if inner = SetKeepAlive(int(fd)); inner == nil && control != nil {
					inner = control(int(fd))
				}
			})
			if err != nil {
				return err
			}
			return inner
		},
	}
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("opening a listener: %w", err)
	}
	return ln, nil
}

// SetKeepAlive has the kernel find out when the peer of a socket has vanished.
func SetKeepAlive(fd int) error {
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAlive / time.Second)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// Fixed returns a Dialer that connects to one upstream, HOST:PORT, whatever the client dialled, from
// an address of the box. A host name is looked up for each connection.
func Fixed(upstream string) Dialer {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAlive}}
	return func(ctx context.Context, _, _ netip.AddrPort) (Conn, error) {
		c, err := d.DialContext(ctx, "tcp", upstream)
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
}
