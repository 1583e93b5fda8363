// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"runtime/debug"
	figures "runtime/metrics"
	"testing"

	"github.com/sightglass/sightglass/internal/nettest"
)

// TestCollectLess: garbage is left until there is as much as is ready for it, and what is in use counts as usual once that is more.
func TestCollectLess(t *testing.T) {
	t.Setenv("GOGC", "")
	if !nettest.Alone(t) {
		return
	}
	at := collectAt(mostReady)
	debug.SetGCPercent(usualPercent)
	runtime.GC()
	collectLess(at)
	before := collections()
	for range at / 2 / uint64(len(garbage)) {
		garbage = make([]byte, len(garbage))
	}
	if n := collections() - before; n > 0 {
		t.Errorf("%d collections for half of what is ready", n)
	}
	for range 2 * at / uint64(len(garbage)) {
		garbage = make([]byte, len(garbage))
	}
	if n := collections() - before; n < 1 || n > 3 {
		t.Errorf("%d collections for 2.5 times what is ready, want about 2", n)
	}
	inUse := make([]byte, 2*at)
	for range 100 { // the cleanup runs some time after a collection
		runtime.GC()
		if percent() == usualPercent {
			break
		}
	}
	if p := percent(); p != usualPercent {
		t.Errorf("with %d MB in use GOGC is %d, want %d", len(inUse)>>20, p, usualPercent)
	}
	runtime.KeepAlive(inUse)
}

func percent() uint64 {
	s := []figures.Sample{{Name: "/gc/gogc:percent"}}
	figures.Read(s)
	return s[0].Value.Uint64()
}

var garbage = make([]byte, 16<<10)

func collections() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumGC
}

// TestCollectPercent: it is no less than the usual.
func TestCollectPercent(t *testing.T) {
	at := collectAt(mostReady)
	inUse := make([]byte, at)
	runtime.GC()
	if p := collectPercent(at); p != usualPercent {
		t.Errorf("with %d MB in use: %d, want %d", len(inUse)>>20, p, usualPercent)
	}
	runtime.KeepAlive(inUse)
}
