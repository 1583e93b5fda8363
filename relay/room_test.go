// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"testing"

	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

// TestRoomForSockets: the table of descriptors, which never gets smaller, has its size before the first flow.
func TestRoomForSockets(t *testing.T) {
	if !nettest.Alone(t) {
		return
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	const flows = 2000
	s, err := New(Config{NewEngine: func(session.Flow) Engine { return nil }, MaxFlows: flows})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if got, want := nettest.TableSize(t), min(2*flows, int(limit.Cur)); got < want {
		t.Errorf("room for %d descriptors, want %d", got, want)
	}
}
