// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/internal/config"
)

// takePriority gives all threads the nice value of the settings: a relay is woken for a few microseconds at a time, and everybody
// whose connections it carries waits for it behind who else wants the processor. By default it goes on without, if it may not.
func takePriority(in *config.Inline) error {
	if in.Nice == 0 {
		return nil // as it was started: by nice(1), or Nice= of systemd
	}
	if err := setNice(in.Nice); err != nil && in.Nice != config.DefaultNice {
		return err
	}
	return nil
}

// setNice gives all threads of the process, and those to come, a nice value. The kernel has one for each thread (setpriority(2)).
func setNice(nice int) error {
	set := make(map[string]bool)
	for before := -1; len(set) > before; { // one that had it not yet may have made a new one
		before = len(set)
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("setting nice %d: %w", nice, err)
		}
		for _, thread := range threads {
			if set[thread.Name()] {
				continue
			}
			id, err := strconv.Atoi(thread.Name())
			if err == nil {
				err = unix.Setpriority(unix.PRIO_PROCESS, id, nice)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
				return fmt.Errorf("setting nice %d: %w", nice, err)
			}
			set[thread.Name()] = true
		}
	}
	return nil
}
