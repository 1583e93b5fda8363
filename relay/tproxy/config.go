// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/sightglass/sightglass/bpf"
)

// WhenDown says what becomes of traffic that would be caught while no process is there to take it.
type WhenDown uint8

// The choices.
const (
	Forward WhenDown = iota // it is forwarded, unread
	Drop                    // it is dropped
)

// String returns "forward" or "drop".
func (w WhenDown) String() string {
	if w == Drop {
		return "drop"
	}
	return "forward"
}

// Way is how packets come to the listeners.
type Way uint8

// The ways.
const (
	// Auto is EBPF where the kernel can and lets this process, and NFTables elsewhere.
	Auto Way = iota
	NFTables
	EBPF
)

// String returns "auto", "nftables" or "ebpf".
func (w Way) String() string { return [...]string{"auto", "nftables", "ebpf"}[w] }

// DefaultMark is set on packets that are to be delivered here, in the bits of DefaultMarkMask.
const (
	DefaultMark     = 0x53470000
	DefaultMarkMask = 0xffff0000
)

// DefaultPinPath is where EBPF keeps what outlives a process.
const DefaultPinPath = "/sys/fs/bpf/sightglass"

// Config says what is caught and who takes it.
type Config struct {
	Interfaces []string // where clients' packets come in
	Rules      Rules
	WhenDown   WhenDown
	Way        Way

	// Listeners take the connections: all of Listen's, on one port. They stay the caller's, who closes
	// them before or after the steering.
	Listeners []net.Listener
	// Instance tells processes on one host apart; empty: the listeners' port. Small letters, digits
	// and hyphens, 24 at most.
	Instance string
	// Mark and MarkMask are the packet mark; both zero: the defaults.
	Mark, MarkMask uint32

	// Attachment is how EBPF is tied to interfaces; by itself it takes the best that the kernel has.
	Attachment bpf.Attachment
	// PinPath is a directory on a BPF file system, for what EBPF with Drop leaves there; empty:
	// DefaultPinPath. All processes on a host should agree on it, to find what others left.
	PinPath string
	// OnError takes what goes wrong after Setup, when interfaces or addresses change; it may be nil.
	OnError func(error)
}

// validInstance reports whether an instance may have this name.
func validInstance(name string) bool { return name != "" && bpf.ValidInstance(name) }

// check completes the configuration, or says what is wrong with it.
func (c *Config) check() error {
	if len(c.Interfaces) == 0 {
		return errors.New("steering needs the interface that clients' packets come in by")
	}
	if c.Mark == 0 && c.MarkMask == 0 {
		c.Mark, c.MarkMask = DefaultMark, DefaultMarkMask
	}
	if c.Mark == 0 || c.Mark&^c.MarkMask != 0 {
		return fmt.Errorf("packet mark %#x does not fit its mask %#x", c.Mark, c.MarkMask)
	}
	if err := c.Rules.check(); err != nil {
		return err
	}
	port, err := c.port()
	if err != nil {
		return err
	}
	if c.Instance == "" {
		c.Instance = strconv.Itoa(int(port))
	}
	if !validInstance(c.Instance) {
		return fmt.Errorf("instance %q: small letters, digits and hyphens only, 24 at most", c.Instance)
	}
	if c.PinPath == "" {
		c.PinPath = DefaultPinPath
	}
	return nil
}

func (c *Config) port() (uint16, error) {
	var port uint16
	for _, ln := range c.Listeners {
		a, ok := ln.Addr().(*net.TCPAddr)
		if !ok || port != 0 && uint16(a.Port) != port {
			return 0, errors.New("steering needs TCP listeners on one port")
		}
		port = uint16(a.Port)
	}
	if port == 0 {
		return 0, errors.New("steering needs a listener")
	}
	return port, nil
}
