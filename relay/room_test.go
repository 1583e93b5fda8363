// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

// TestRoomForSockets: the table of descriptors has its size before the first flow. It is looked at in a process of its own, as it never
// gets smaller.
func TestRoomForSockets(t *testing.T) {
	const apart = "SIGHTGLASS_TEST_APART"
	if os.Getenv(apart) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), apart+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
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
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var size int
		if n, _ := fmt.Sscanf(line, "FDSize: %d", &size); n == 1 {
			if want := min(2*flows, int(limit.Cur)); size < want {
				t.Errorf("room for %d descriptors, want %d", size, want)
			}
			return
		}
	}
	t.Fatalf("no FDSize in %s", status)
}
