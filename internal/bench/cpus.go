// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cpuList are processors, as taskset(1) takes them; empty: all that there are.
type cpuList string

// cpus are those of the box and of its peers.
type cpus struct{ box, peers cpuList }

// apart gives the box the last of the processors, and the peers the others. Where there is only one, they share it.
func apart() (cpus, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return cpus{}, err
	}
	var all []string
	for cpu := 0; len(all) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			all = append(all, strconv.Itoa(cpu))
		}
	}
	last := len(all) - 1
	return cpus{box: cpuList(all[last]), peers: cpuList(strings.Join(all[:max(last, 1)], ","))}, nil
}

// confine has a program run on the processors of the list, from its beginning: it counts them.
func (c cpuList) confine(cmd *exec.Cmd) error {
	if c == "" || cmd.Err != nil { // of which Start tells
		return nil
	}
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return err
	}
	cmd.Args = append([]string{taskset, "-c", string(c), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = taskset
	return nil
}

// latencyRequests is where a program asks the kernel for processors that wake in time (PM QoS).
const latencyRequests = "/dev/cpu_dma_latency"

// keepAwake has all processors of the machine wait awake until the file is closed.
func keepAwake() (*os.File, error) {
	f, err := os.OpenFile(latencyRequests, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, 4)); err != nil { // in no time
		f.Close()
		return nil, err
	}
	return f, nil
}
