// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"net"
	"syscall"

	"github.com/sightglass/sightglass/handshake"
)

// peerErrors are what a socket reports when its peer, or the way to it, broke the connection.
var peerErrors = []error{
	syscall.ECONNRESET, syscall.EPIPE, syscall.ENOTCONN, syscall.ETIMEDOUT, syscall.ECONNREFUSED,
	syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.ECONNABORTED,
}

// peerBroke tells a connection that a peer broke from a failure of the box's own.
func peerBroke(err error) bool {
	for _, e := range peerErrors {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// opError makes err a *net.OpError that names a flow's leg, unless it is one.
func opError(f *flow, side handshake.Side, op string, err error) error {
	var already *net.OpError
	if errors.As(err, &already) {
		return err
	}
	peer := f.client
	if side == handshake.Server {
		peer = f.server
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: net.TCPAddrFromAddrPort(peer), Err: err}
}
