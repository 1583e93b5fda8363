// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestGiveWay: a worker has what is left of the processors, and a share of them when it is pressed. One that might not
// come back from that has a low priority for good.
func TestGiveWay(t *testing.T) {
	type standing struct {
		policy uint32
		nice   int32
	}
	done := make(chan struct{})
	go func() { // its thread ends with it
		defer close(done)
		pressed := giveWay()
		expect := func(when string, want standing) {
			t.Helper()
			got, err := unix.SchedGetAttr(0, 0)
			if err != nil {
				t.Errorf("%s: %v", when, err)
			} else if (standing{got.Policy, got.Nice}) != want {
				t.Errorf("%s: policy %d, nice %d, want %+v", when, got.Policy, got.Nice, want)
			}
		}
		if pressed == nil {
			expect("no way back", standing{unix.SCHED_NORMAL, workerNice + 1})
			return
		}
		for range 2 {
			expect("not pressed", standing{unix.SCHED_IDLE, workerNice})
			pressed(true)
			expect("pressed", standing{unix.SCHED_NORMAL, workerNice})
			pressed(false)
		}
	}()
	<-done
}
