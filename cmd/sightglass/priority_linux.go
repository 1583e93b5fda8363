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
// whose connections it carries waits for it behind who else wants the processor. Who may not is as before, but if a value was asked for.
func takePriority(in *config.Inline) error {
	if in.Nice == 0 {
		return nil // as it was started: by nice(1), or Nice= of systemd
	}
	err := setNice(in.Nice)
	if in.Nice == config.DefaultNice && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
		return nil
	}
	return err
}

// setNice gives all threads of the process, and those to come, a nice value. The kernel has one for each thread (setpriority(2)).
func setNice(nice int) error {
	for changed := true; changed; { // one of the others may have made a new one meanwhile
		changed = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("setting the priority: %w", err)
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				return fmt.Errorf("setting the priority: thread %q: %w", thread.Name(), err)
			}
			if has, err := threadNice(id); err != nil || has == nice {
				continue // or it has ended
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, id, nice); err != nil {
				if errors.Is(err, unix.ESRCH) {
					continue
				}
				return fmt.Errorf("setting nice %d: %w", nice, err)
			}
			changed = true
		}
	}
	return nil
}

// threadNice returns the nice value of a thread.
func threadNice(id int) (int, error) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, id) // 20 less it (getpriority(2), "C library/kernel differences")
	return 20 - raw, err
}
