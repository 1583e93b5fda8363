// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/relay/sock"
)

// takePriority returns the nice value that the settings have for the threads that carry bytes; zero: what the others have. A relay is
// woken for a few microseconds at a time, and everybody whose connections it carries waits for it behind who else wants the processor.
// What else the program does can wait. A program that shall stand back does so with all of its threads.
// By default it goes on without, if it may not, or was started with more.
func takePriority(in *config.Inline) (loops int, err error) {
	if in.Nice == 0 {
		return 0, nil // as it was started: by nice(1), or Nice= of systemd
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := sock.Thread()
	now, err := unix.SchedGetAttr(thread, 0)
	if err != nil && in.Nice != config.DefaultNice {
		return 0, fmt.Errorf("looking for the nice value: %w", err)
	} else if err != nil {
		return 0, nil
	}
	usual := int(now.Nice)
	switch {
	case now.Policy != unix.SCHED_NORMAL:
		return 0, nil // as it was started: by chrt(1), or CPUSchedulingPolicy= of systemd
	case in.Nice == config.DefaultNice && usual <= in.Nice:
		return 0, nil
	case usual <= in.Nice:
		return 0, setNice(in.Nice)
	}
	if err = sock.SetNice(thread, in.Nice); err == nil {
		err = sock.SetNice(thread, usual)
	}
	switch {
	case err == nil:
		return in.Nice, nil
	case in.Nice == config.DefaultNice:
		return 0, nil
	}
	return 0, fmt.Errorf("setting nice %d: %w", in.Nice, err)
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
