// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"io"
	"net/netip"

	"golang.org/x/net/bpf"

	"github.com/sightglass/sightglass/session"
)

// SniffOptions say what a Sniffer captures, and how.
type SniffOptions struct {
	// Interfaces by name; "any" is all of them.
	Interfaces []string
	// Session is what sessions are made with. Its Handler is called by several goroutines at once, for
	// different flows, and must not wait: what it waits for, capture waits for. Keys may take their
	// time.
	Session *session.Config
	// Filter is a capture filter, see package filter; empty: all packets.
	Filter string
	// Snaplen is how many bytes are taken of each packet, RingSize the bytes of each socket's ring;
	// 0: the defaults of package afpacket.
	Snaplen  int
	RingSize int
	// Fanout is the number of sockets on each interface; 0: one for each processor.
	Fanout      int
	Promiscuous bool
	// Select picks the flows of which events are handed on.
	Select Selection
	// WithSecrets takes the captured packets, as a pcapng file, with the secrets of the selected flows
	// before the packets that need them: packets are held for two seconds. What it is too slow for is
	// left out, and counted.
	WithSecrets io.Writer
	// Shunter drops flows that cannot be read before they are captured; nil: they are captured.
	Shunter Shunter
	// Failed is told, from any goroutine, what keeps an interface from being captured from now on, while others go on; nil: only the
	// error of Run says so.
	Failed func(error)
	Bounds Bounds
}

// Shunter keeps packets of flows from being captured.
type Shunter interface {
	// AttachFilter makes the shunter and a capture filter the filter of a packet socket.
	AttachFilter(fd int, filter []bpf.RawInstruction) error
	// Add drops the packets of a flow but those that may end it.
	Add(client, server netip.AddrPort) error
	// Remove lets them through again, and returns what was dropped.
	Remove(client, server netip.AddrPort) (packets, bytes uint64, err error)
}

// SniffStats are the counters of a Sniffer.
type SniffStats struct {
	Stats
	Open       int // connections that are being followed
	Shunted    uint64
	NotCopied  uint64 // packets that WithSecrets was too slow for
	Interfaces []InterfaceStats
}

// InterfaceStats are the counters of an interface's sockets.
type InterfaceStats struct {
	Name     string
	Received uint64 // accepted by the filter, dropped ones included
	Dropped  uint64 // by the kernel, for want of room
	Frozen   uint64 // how often a ring was full
}

// Sniff captures until ctx ends. See NewSniffer and Run, which it is.
func Sniff(ctx context.Context, o SniffOptions) (SniffStats, error) {
	s, err := NewSniffer(o)
	if err != nil {
		return SniffStats{}, err
	}
	err = s.Run(ctx)
	return s.Stats(), err
}
