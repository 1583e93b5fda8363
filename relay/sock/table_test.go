// SPDX-License-Identifier: Apache-2.0

package sock

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tableSize is how many descriptors the process's table holds (proc_pid_status(5)).
func tableSize(t *testing.T) (size int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "FDSize: %d", &size); n == 1 {
			return size
		}
	}
	t.Fatalf("no FDSize in %s", status)
	return 0
}

func TestMakeRoom(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	usual := limit
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &usual) })
	limit.Cur = min(limit.Cur, uint64(4*tableSize(t))) // it may be so much that a table of it takes gigabytes
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2*tableSize(t) + 1, int(limit.Cur) + 1, 1} {
		if err := MakeRoom(n); err != nil {
			t.Fatal(err)
		}
		if got, want := tableSize(t), min(n, int(limit.Cur)); got < want {
			t.Errorf("room for %d descriptors, want %d", got, want)
		}
	}
	if last, err := unix.FcntlInt(uintptr(limit.Cur)-1, unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the last descriptor is open: %d, %v", last, err)
	}
}
