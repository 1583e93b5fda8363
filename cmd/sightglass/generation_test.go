// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"testing"
	"time"

	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// TestGenerations replaces the configuration while flows come and go: close returns only when every
// pool has ended, and no flow meets one that has.
func TestGenerations(t *testing.T) {
	var gs generations
	var ring rsakex.Ring
	fresh := func() { gs.replace(&session.Config{}, rsakex.NewPool(&ring, 1, 1, rsakex.Manners{})) }
	fresh()
	var flows sync.WaitGroup
	for range 4 {
		flows.Go(func() {
			for range 500 {
				s := gs.newSession(session.Flow{Start: time.Unix(1, 0)})
				s.End(time.Unix(2, 0))
				s.End(time.Unix(3, 0)) // once more does no harm
			}
		})
	}
	for range 50 {
		fresh()
	}
	flows.Wait()
	if n := gs.current.Load().users.Load(); n != 1 {
		t.Errorf("%d users are left", n)
	}
	gs.close()
}
