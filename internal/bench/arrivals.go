// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// arrivals are times that know nothing of each other, as of many clients (a Poisson process): at regular ones,
// what a box puts off may always meet the next handshake, or never. The same seed has the same times.
type arrivals struct {
	random *rand.Rand
	gap    float64 // seconds, on average
	next   time.Time
}

// newArrivals begins now. The goroutine keeps its thread from here on, which ends with it.
func newArrivals(rate float64, seed uint64) *arrivals {
	runtime.LockOSThread()
	return &arrivals{rand.New(rand.NewPCG(seed, 0)), 1 / rate, time.Now()}
}

// wait returns at the next of them. It sleeps in the kernel, as Go's timers are only good for milliseconds.
func (a *arrivals) wait() {
	a.next = a.next.Add(time.Duration(a.random.ExpFloat64() * a.gap * float64(time.Second)))
	for rest := time.Until(a.next); rest > 0; rest = time.Until(a.next) {
		gap := unix.NsecToTimespec(rest.Nanoseconds())
		_ = unix.Nanosleep(&gap, nil)
	}
}
