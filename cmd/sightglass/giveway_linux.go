// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/rsakex"
)

// workerNice is how far the private key's workers stand back from what carries bytes: as far as may be while a
// tenth of a busy processor is still theirs.
const workerNice = 10

// giveWay has the calling goroutine run on a thread of its own, of low priority: nobody waits for a private
// operation but the reading, and a connection's bytes wait for none of it. The thread ends with the goroutine.
func giveWay() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, workerNice) // of this thread alone; it only saves latency
}

// maxBehind is how many private operations may wait before new connections have to: clients do not wait for
// the key, and none of their connections shall be left unread because others came too fast. The rest of the
// queue is for the handshakes that are on their way.
const maxBehind = rsakex.DefaultQueue / 8
