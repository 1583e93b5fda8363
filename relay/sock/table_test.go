// SPDX-License-Identifier: Apache-2.0

package sock

import (
	"testing"

	"github.com/sightglass/sightglass/internal/nettest"
	"golang.org/x/sys/unix"
)

func TestMakeRoom(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	usual := limit
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &usual) })
	limit.Cur = min(limit.Cur, uint64(4*nettest.TableSize(t))) // it may be so much that a table of it takes gigabytes
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2*nettest.TableSize(t) + 1, int(limit.Cur) + 1, 1} {
		if err := MakeRoom(n); err != nil {
			t.Fatal(err)
		}
		if got, want := nettest.TableSize(t), min(n, int(limit.Cur)); got < want {
			t.Errorf("room for %d descriptors, want %d", got, want)
		}
	}
	if last, err := unix.FcntlInt(uintptr(limit.Cur)-1, unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the last descriptor is open: %d, %v", last, err)
	}
}
