// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	figures "runtime/metrics"
)

const (
	// collectAt is the least that the heap comes to before it is collected: what prepareHeap has ready, less what the runtime
	// cannot fill of it.
	collectAt = 88 << 20
	// usualPercent is GOGC if nobody says otherwise.
	usualPercent = 100
)

// collectLess has the heap collected when it comes to collectAt, or to twice what is in use, if that is more. In the milliseconds of a
// collection handshakes wait, and with the few megabytes that a relay has in use there are several a second otherwise, for memory
// that is there anyway. Who has set GOGC is obeyed.
func collectLess() {
	if os.Getenv("GOGC") != "" {
		return
	}
	percent := usualPercent
	eachCollection(func() {
		if now := collectPercent(); now*8 < percent*7 || now*7 > percent*8 { // to change it stops everything for a moment
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

// collectPercent returns the GOGC with which the next collection is at collectAt, and no less than the usual one. It is of what is
// in use, with what is looked through for that ("A Guide to the Go Garbage Collector", GOGC).
func collectPercent() int {
	samples := []figures.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/globals:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	figures.Read(samples)
	live, roots := samples[0].Value.Uint64(), samples[1].Value.Uint64()+samples[2].Value.Uint64()
	if live >= collectAt {
		return usualPercent
	}
	return max(usualPercent, int((collectAt-live)*100/(live+roots+1)))
}
