// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// awake keeps the machine's processors from sleeping so deeply that to wake one takes longer than what it is woken for, while
// handshakes are on their way: in the course of one everybody sleeps several times until somebody else has answered. It is a
// request to the kernel (PM QoS, Documentation/power/pm_qos_interface.rst), which ends with the file that it is made through.
type awake struct {
	request *os.File // nil: none is made
	within  int32    // µs in which a processor has to wake
	until   time.Time
}

const (
	// awakeFor is how long the next step of any handshake is waited for so. To ask and to take back each wake all processors.
	awakeFor = 20 * time.Millisecond
	// anyLatency is what the kernel takes for no request (PM_QOS_CPU_LATENCY_DEFAULT_VALUE).
	anyLatency = 2000 * 1000 * 1000

	latencyRequests = "/dev/cpu_dma_latency"
	idleStates      = "/sys/devices/system/cpu/cpu0/cpuidle"
	idleDriver      = "/sys/devices/system/cpu/cpuidle/current_driver"
)

// open begins to make requests, if the kernel has somebody to heed them and the program may.
func (a *awake) open() {
	within, ok := lightSleep(idleDriver, idleStates)
	if !ok {
		return
	}
	a.within = within
	a.request, _ = os.OpenFile(latencyRequests, os.O_WRONLY, 0) // it is as right without, and slower
}

// lightSleep returns how long it takes to wake a processor from its lightest sleep, in µs: none at all in a guest that may poll,
// where that sleep is the host's.
func lightSleep(driver, states string) (within int32, ok bool) {
	if name, err := os.ReadFile(driver); err != nil || strings.TrimSpace(string(name)) == "haltpoll" {
		return 0, err == nil
	}
	for i := range 2 { // the first state may be to poll
		state := filepath.Join(states, "state"+strconv.Itoa(i))
		name, err := os.ReadFile(filepath.Join(state, "name"))
		if err != nil || strings.TrimSpace(string(name)) == "POLL" {
			continue
		}
		latency, err := os.ReadFile(filepath.Join(state, "latency"))
		if err != nil {
			return 0, false
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(latency)), 10, 32)
		return int32(n), err == nil
	}
	return 0, false
}

// stay has the processors stay awake for the next step of a handshake, and reports whether they do.
func (a *awake) stay(now time.Time) bool {
	if a.request == nil {
		return false
	}
	if a.until.IsZero() && !a.ask(a.within) {
		return false
	}
	a.until = now.Add(awakeFor)
	return true
}

// rest lets them sleep as they like if nobody had a step for long enough.
func (a *awake) rest(now time.Time) {
	if !a.until.IsZero() && !now.Before(a.until) {
		a.until = time.Time{}
		a.ask(anyLatency)
	}
}

// ask reports whether the kernel took it. Who was refused once asks no more.
func (a *awake) ask(latency int32) bool {
	_, err := a.request.Write(binary.NativeEndian.AppendUint32(nil, uint32(latency)))
	if err != nil {
		a.close()
	}
	return err == nil
}

// close takes the request back.
func (a *awake) close() {
	if a.request != nil {
		_ = a.request.Close()
		*a = awake{}
	}
}
