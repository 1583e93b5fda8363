// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Steering is what brings packets to the listeners, until it is closed. Its methods may be called from
// any goroutine of a process that stays in its network namespace.
type Steering interface {
	// SetRules puts other rules in the place of those that are in force, in one step: a connection
	// that begins is judged by the old ones or by the new. Those that are open go on. A rule that stays
	// keeps its count. On an error nothing has changed.
	SetRules(Rules) error
	// Close takes everything down that was set up; with Drop what drops stays. It says what it could
	// not take down.
	Close() error
	// Stats counts since Setup.
	Stats() (Stats, error)
	// Warnings are what a person should know, a line each: what keeps traffic from passing that is not
	// caught, what others left, why Auto did not choose EBPF.
	Warnings() []string
	// Kind is "nftables" or "ebpf".
	Kind() string
}

// Stats are counts of packets, and of connections by rule.
type Stats struct {
	Caught      uint64 // given to a listener: SYNs, and what came again before there was a connection
	Established uint64 // given to the socket of their connection
	Dropped     uint64 // because no listener was there
	Rules       []RuleStats
}

// RuleStats is the count of one rule.
type RuleStats struct {
	Rule Rule
	// Connections that began (SYNs), and were caught or left out by the rule, since it came into force.
	Connections uint64
}

// Setup steers what cfg names to its listeners, in the network namespace of the calling thread. It
// leaves nothing behind when it fails.
func Setup(cfg Config) (Steering, error) {
	switch cfg.Way {
	case NFTables:
		return setUp(cfg, newNft)
	case EBPF:
		return setUp(cfg, newEBPF)
	}
	s, err := setUp(cfg, newEBPF)
	if err == nil || !errors.Is(err, errNoEBPF) {
		return s, err
	}
	s, otherErr := setUp(cfg, newNft)
	if otherErr != nil {
		return nil, otherErr
	}
	return &instead{s, fmt.Sprintf("steering by nftables in place of eBPF: %v", err)}, nil
}

// instead is a steering that another was preferred to.
type instead struct {
	Steering
	why string
}

// Warnings implements Steering.
func (i *instead) Warnings() []string { return append([]string{i.why}, i.Steering.Warnings()...) }

// setUp makes one of the two kinds.
func setUp[S interface {
	Steering
	setUp() error
	undo() error
}](cfg Config, make func(*base) S) (Steering, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	b := &base{cfg: cfg}
	if err := b.open(); err != nil {
		b.release()
		return nil, err
	}
	s := make(b)
	if err := s.setUp(); err != nil {
		return nil, errors.Join(err, s.undo())
	}
	return s, nil
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
	case isMissing(err):
		return fmt.Errorf("%s: %w (nftables with nft_tproxy, nft_socket and nft_fib_inet, of Linux 5.10 or later): %w",
			doing, ErrUnsupported, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// isMissing tells the errors of a kernel that was built without something.
func isMissing(err error) bool {
	for _, missing := range []unix.Errno{unix.ENOENT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, missing) {
			return true
		}
	}
	return false
}
