// SPDX-License-Identifier: Apache-2.0

package reassembly

import "math/bits"

// Limits bounds what is waited for and what is held meanwhile.
type Limits struct {
	// Bytes held of one connection, both directions together; with what it costs to hold them.
	Bytes int
	// Segments held of one direction.
	Segments int
	// ReorderPackets of the connection, or ReorderTime in nanoseconds, are waited for what was
	// captured late.
	ReorderPackets uint32
	ReorderTime    int64
	// HolePackets of the connection, or HoleTime in nanoseconds, are waited for what may be sent
	// again.
	HolePackets uint32
	HoleTime    int64
}

// DefaultLimits returns limits that fit captures of any kind: what two interfaces or processors put
// out of order, and retransmissions that take some round trips of a fast network.
func DefaultLimits() Limits {
	return Limits{
		Bytes:          8 << 20,
		Segments:       8192,
		ReorderPackets: 64,
		ReorderTime:    1e9,
		HolePackets:    16384,
		HoleTime:       30e9,
	}
}

// Counters count what was seen.
type Counters struct {
	Retransmitted uint64 // segments that brought nothing new
	OutOfOrder    uint64 // segments that were held
	Overlapping   uint64 // segments that brought some bytes again
	Gaps          uint64 // holes that were given up
	Lost          uint64 // bytes in them
}

// Pool holds what many connections of one goroutine share: limits, counters, and memory for the
// segments that are held. It is not safe for concurrent use.
type Pool struct {
	Limits   Limits
	Counters Counters
	// Held is the memory that holds segments now, in bytes.
	Held int

	free [numClasses][][]byte
}

// Memory for segments comes in sizes of powers of two, from 256 bytes to 64 KiB.
const (
	minClass   = 8
	maxClass   = 16
	numClasses = maxClass - minClass + 1
	maxFree    = 64 // of each size
	entryCost  = 96 // what an entry of the queue costs beyond its bytes
)

// maxSeqReach is how far ahead a sequence number can be: the largest window (RFC 7323, Section 2.3).
const maxSeqReach = 1 << 30

// NewPool returns a pool with the given limits.
func NewPool(l Limits) *Pool { return &Pool{Limits: l} }

func class(n int) int { return max(bits.Len(uint(n-1)), minClass) - minClass }

// hold returns a copy of b, and what it costs. Of nothing it returns nil.
func (p *Pool) hold(b []byte) ([]byte, int) {
	if len(b) == 0 {
		return nil, entryCost
	}
	var buf []byte
	switch c := class(len(b)); {
	case c >= numClasses:
		buf = make([]byte, 0, len(b))
	case len(p.free[c]) > 0:
		last := len(p.free[c]) - 1
		buf, p.free[c] = p.free[c][last], p.free[c][:last]
	default:
		buf = make([]byte, 0, 1<<(c+minClass))
	}
	return append(buf, b...), entryCost + cap(buf)
}

// release takes memory back that hold gave.
func (p *Pool) release(buf []byte) {
	c := class(cap(buf))
	if cap(buf) > 0 && c < numClasses && cap(buf) == 1<<(c+minClass) && len(p.free[c]) < maxFree {
		p.free[c] = append(p.free[c], buf[:0])
	}
}
