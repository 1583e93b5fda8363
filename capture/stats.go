// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"time"

	"github.com/sightglass/sightglass/capture/decap"
	"github.com/sightglass/sightglass/capture/reassembly"
)

// Stats says what was read, beyond what the flows themselves tell.
type Stats struct {
	Packets uint64
	Bytes   uint64 // captured, of packets
	First   time.Time
	Last    time.Time
	// Results counts packets by what they were.
	Results [decap.NumResults]uint64
	// Links counts packets whose link type is not read here, by link type.
	Links map[uint16]uint64
	// Excluded counts segments of flows that the selection leaves out by address or port.
	Excluded uint64
	// Connections were seen, with or without data in them; Flows had some.
	Connections uint64
	Flows       uint64
	// Expired flows were given up because nothing came any more.
	Expired uint64
	Streams reassembly.Counters
	// Secrets is how many secrets were found in Decryption Secrets Blocks.
	Secrets int
	// Warnings say what kept something from being read: an [pcapng.Error] for a file that is cut.
	Warnings []error
}

// counters are a tracker's part of Stats.
type counters struct {
	connections, flows, expired uint64
	panics                      []error
}

// maxPanics is how many errors of our own are kept to be shown.
const maxPanics = 10

func (s *Stats) add(t *tracker) {
	s.Connections += t.counters.connections
	s.Flows += t.counters.flows
	s.Expired += t.counters.expired
	c := &t.pool.Counters
	s.Streams.Retransmitted += c.Retransmitted
	s.Streams.OutOfOrder += c.OutOfOrder
	s.Streams.Overlapping += c.Overlapping
	s.Streams.Gaps += c.Gaps
	s.Streams.Lost += c.Lost
	s.Warnings = append(s.Warnings, t.counters.panics...)
}
