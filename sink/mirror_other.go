// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package sink

import (
	"errors"

	"github.com/sightglass/sightglass/session"
)

// Mirror exists on Linux only.
type Mirror struct {
	base
}

// NewMirror fails: packet sockets are Linux's.
func NewMirror(string, MirrorOptions) (*Mirror, error) {
	return nil, errors.New("mirror: needs Linux")
}

// Event does nothing.
func (*Mirror) Event(*session.Event) {}
