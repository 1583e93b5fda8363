// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/relay"
)

// openWay opens the way in that the settings ask for.
func openWay(ctx context.Context, e *env, in *config.Inline) (way, error) {
	return openFixed(ctx, in)
}

// openFixed listens for clients that dial this machine.
func openFixed(ctx context.Context, in *config.Inline) (way, error) {
	ln, err := relay.Listen(ctx, in.Listen)
	if err != nil {
		return way{}, err
	}
	return way{
		listeners: []net.Listener{ln},
		dial:      relay.Fixed(in.To),
		reload:    func(*config.Settings) error { return nil },
		close:     func() error { return nil },
		announce:  fmt.Sprintf("relaying %v to %s", ln.Addr(), in.To),
	}, nil
}
