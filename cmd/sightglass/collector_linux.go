// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	figures "runtime/metrics"
)

// usualPercent is GOGC if nobody says otherwise.
const usualPercent = 100

// collectAt returns the least that the heap comes to before it is collected: of what prepareHeap has ready, in bytes, what the
// runtime can fill.
func collectAt(ready int) uint64 { return uint64(ready - ready/12) }

// collectLess has the heap collected when it comes to as much as at, or to twice what is in use, if that is more. In the milliseconds of a
// collection handshakes wait, and with the few megabytes that a relay has in use there are several a second otherwise, for memory
// that is there anyway. Who has set GOGC is obeyed.
func collectLess(at uint64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	percent := usualPercent
	eachCollection(func() {
		if now := collectPercent(at); now*8 < percent*7 || now*7 > percent*8 { // to change it stops everything for a moment
			percent = now
			debug.SetGCPercent(percent)
		}
	})
}

// eachCollection calls do now and after each collection, on a goroutine of the runtime's.
func eachCollection(do func()) {
	do()
	runtime.AddCleanup(new([64]byte), eachCollection, do)
}

// collectPercent returns the GOGC with which the next collection is at so many bytes, and no less than the usual one. It is of what is
// in use, with what is looked through for that ("A Guide to the Go Garbage Collector", GOGC).
func collectPercent(at uint64) int {
	samples := []figures.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/globals:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	figures.Read(samples)
	live, roots := samples[0].Value.Uint64(), samples[1].Value.Uint64()+samples[2].Value.Uint64()
	if live >= at {
		return usualPercent
	}
	return max(usualPercent, int((at-live)*100/(live+roots+1)))
}
