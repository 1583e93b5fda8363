// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// lateCollection is the garbage collector's percentage until it has run once: from 12 MB on.
const lateCollection = 300

// collectLate puts the first collection of garbage off to where there is some: what the reading of a capture
// takes at its beginning would cause one, which finds none, and looks through 5 MB of packages' tables (of
// gopacket/layers) for it. GOGC has its way.
var collectLate = sync.OnceFunc(func() {
	if os.Getenv("GOGC") != "" {
		return
	}
	usual := debug.SetGCPercent(lateCollection)
	runtime.AddCleanup(new([64]byte), func(percent int) { debug.SetGCPercent(percent) }, usual)
})
