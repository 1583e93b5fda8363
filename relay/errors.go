// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"net"
	"os"
	"syscall"
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

// poked reports whether a read ended because its deadline was moved.
func poked(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// opError makes err a *net.OpError that names the connection, unless it is one.
func opError(c any, op string, err error) error {
	var already *net.OpError
	if errors.As(err, &already) {
		return err
	}
	e := &net.OpError{Op: op, Net: "tcp", Err: err}
	switch conn := c.(type) {
	case net.Conn:
		e.Source, e.Addr = conn.LocalAddr(), conn.RemoteAddr()
	case net.Listener:
		e.Addr = conn.Addr()
	}
	return e
}
