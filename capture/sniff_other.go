// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package capture

import (
	"context"
	"errors"
)

// Sniffer captures from live interfaces, on Linux.
type Sniffer struct{}

// NewSniffer says that live capture needs Linux.
func NewSniffer(SniffOptions) (*Sniffer, error) {
	return nil, errors.New("live capture needs Linux: here, write a capture file and decrypt that")
}

// Run does nothing.
func (*Sniffer) Run(context.Context) error { return nil }

// Stats returns no counters.
func (*Sniffer) Stats() SniffStats { return SniffStats{} }
