// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/rsakex"
)

const (
	// workerNice is how far the private key's workers stand back when they are pressed: as far as may be while a
	// tenth of a busy processor is still theirs.
	workerNice = 10
	// idleSlice is how long a worker that is not pressed would like to run at a time. The shorter, the sooner it has its turn
	// among others that want the processor all the time, and a collection of garbage may wait for that: some 30 ms.
	idleSlice = 100 * time.Microsecond
)

// giveWay has the calling goroutine run on a thread of its own, which ends with it. Nobody waits for a private operation
// but the reading, and a connection's bytes wait for none of it. So the thread has what is left of the processors, and a
// wakening thread of anybody finds one that runs only this one as good as idle (SCHED_IDLE, sched(7)), until it is pressed.
func giveWay() (pressed func(bool)) {
	runtime.LockOSThread()
	thread := unix.Gettid()
	set := func(policy uint32, nice int32, slice time.Duration) error {
		return unix.SchedSetAttr(thread, &unix.SchedAttr{
			Size: unix.SizeofSchedAttr, Policy: policy, Nice: nice, Runtime: uint64(slice),
			Flags: unix.SCHED_FLAG_RESET_ON_FORK, // a loop's thread has it, and it takes a privilege to be without again
		}, 0)
	}
	standBack := func() error { return set(unix.SCHED_NORMAL, workerNice, 0) }
	// To come back from SCHED_IDLE takes what it takes to be less nice than before: CAP_SYS_NICE, or RLIMIT_NICE.
	_ = set(unix.SCHED_NORMAL, workerNice+1, 0)
	if standBack() != nil {
		return nil
	}
	pressed = func(pressed bool) {
		if pressed {
			_ = standBack()
			return
		}
		_ = set(unix.SCHED_NORMAL, workerNice, idleSlice) // SCHED_IDLE takes none, but keeps it
		_ = set(unix.SCHED_IDLE, 0, 0)
	}
	pressed(false)
	return pressed
}

// keyQueue is how many requests of the private key may wait, of keys that only workers can do.
const keyQueue = 2 * rsakex.DefaultQueue

// maxFilled is how much of that, or of the places in an [rsakex.Idle], may be taken before new connections have to
// wait: clients do not wait for the key, and none of their connections shall be left unread because others came too
// fast. The rest is for the handshakes that are on their way.
const maxFilled = 0.25
