// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// modes are the ways in which bytes pass a flow that nothing is wrong with.
var modes = []mode{
	{"fed first", Config{}, nil},
	{"written ahead", Config{}, func(e *fake) { e.ahead, e.verdict = all, session.Relay }},
	{"bypassed", Config{}, bypass},
	{"spliced", Config{alwaysSplice: true}, bypass},
	{"bypassed later", Config{}, bypassLater},
	{"spliced later", Config{alwaysSplice: true}, bypassLater},
	{"shared", Config{alwaysShare: true}, nil},
	{"shared, and spliced later", Config{alwaysShare: true, alwaysSplice: true}, bypassLater},
}

type mode struct {
	name   string
	cfg    Config
	script func(e *fake)
}

func bypass(e *fake) { e.verdict = session.Bypass }

func bypassLater(e *fake) {
	e.onFeed = func(e *fake, side handshake.Side, _ []byte) {
		if side == server {
			e.verdict = session.Bypass
		}
	}
}

func forModes(t *testing.T, f func(t *testing.T, m mode)) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) { f(t, m) })
	}
}
