// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
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

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// String returns "443" or "8000-8080".
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// DefaultMark is set on packets that are to be delivered here, in the bits of DefaultMarkMask.
const (
	DefaultMark     = 0x53470000
	DefaultMarkMask = 0xffff0000
)

// Config says what is caught and who takes it.
type Config struct {
	Interfaces []string       // where clients' packets come in
	Ports      []PortRange    // of servers; empty: any
	Include    []netip.Prefix // only servers in these networks; empty: all
	Exclude    []netip.Prefix // not servers in these; of all networks that hold a server the longest counts
	WhenDown   WhenDown

	// Listeners take the connections: all of Listen's, on one port.
	Listeners []net.Listener
	// Instance tells processes on one host apart; empty: the listeners' port. Small letters, digits
	// and hyphens, 24 at most.
	Instance string
	// Mark and MarkMask are the packet mark; both zero: the defaults.
	Mark, MarkMask uint32
}

var instanceName = regexp.MustCompile(`^[a-z0-9-]{1,24}$`)

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
	for _, r := range c.Ports {
		if r.First == 0 || r.First > r.Last {
			return fmt.Errorf("%v is no range of ports", r)
		}
	}
	for _, p := range slices.Concat(c.Include, c.Exclude) {
		if !p.IsValid() {
			return errors.New("a network to include or exclude is not valid")
		}
	}
	port, err := c.port()
	if err != nil {
		return err
	}
	if c.Instance == "" {
		c.Instance = strconv.Itoa(int(port))
	}
	if !instanceName.MatchString(c.Instance) {
		return fmt.Errorf("instance %q: small letters, digits and hyphens only, 24 at most", c.Instance)
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

// ports returns the ranges in order, joined where they touch; all ports if none are named.
func (c *Config) ports() []PortRange {
	if len(c.Ports) == 0 {
		return []PortRange{{1, 65535}}
	}
	ranges := slices.SortedFunc(slices.Values(c.Ports), func(a, b PortRange) int { return int(a.First) - int(b.First) })
	joined := ranges[:1]
	for _, r := range ranges[1:] {
		if last := &joined[len(joined)-1]; int(r.First) <= int(last.Last)+1 {
			last.Last = max(last.Last, r.Last)
		} else {
			joined = append(joined, r)
		}
	}
	return joined
}

// describe says what is caught, for people.
func (c *Config) describe() string {
	var ports []string
	for _, r := range c.ports() {
		ports = append(ports, r.String())
	}
	if len(c.Ports) == 0 {
		ports = []string{"any"}
	}
	return fmt.Sprintf("interface %s, port %s", strings.Join(c.Interfaces, ","), strings.Join(ports, ","))
}
