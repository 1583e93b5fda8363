// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Steering is what brings packets to the listeners, until it is closed.
type Steering interface {
	// Close takes everything down that was set up; with Drop what drops stays. It says what it could
	// not take down.
	Close() error
	// Stats counts since Setup.
	Stats() (Stats, error)
	// Warnings are what keeps traffic from passing that is not caught, a line each, with what to do.
	Warnings() []string
	// Kind is "nftables" or "ebpf".
	Kind() string
}

// Stats are counts of packets.
type Stats struct {
	Caught      uint64 // given to a listener: SYNs, and what came again before there was a connection
	Established uint64 // given to the socket of their connection
	Dropped     uint64 // because no listener was there
}

// ErrUnsupported is in every error that says that the kernel lacks something.
var ErrUnsupported = errors.New("the kernel lacks what steering needs")

// explain names what is missing, where an error of the kernel's does not.
func explain(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w", doing, ErrPrivilege)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT),
		errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%s: %w (nftables with nft_tproxy, nft_socket and nft_fib_inet, of Linux 5.10 or later): %w",
			doing, ErrUnsupported, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// lock is what one live process of an instance holds: the kernel gives it back when the process ends.
// It is in the network namespace, like the rules that it stands for.
type lock struct{ fd int }

var errLocked = errors.New("locked by a live process")

func takeLock(instance string) (*lock, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: "@sightglass/steering/" + instance})
	if err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, errLocked
		}
		return nil, os.NewSyscallError("bind", err)
	}
	return &lock{fd: fd}, nil
}

func (l *lock) release() {
	if l != nil {
		_ = unix.Close(l.fd)
	}
}
