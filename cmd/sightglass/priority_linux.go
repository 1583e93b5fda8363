// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/relay/sock"
)

// takePriority returns the nice value that the settings have for the threads that carry bytes; zero: what the others have. A relay is
// woken for a few microseconds at a time, and everybody whose connections it carries waits for it behind who else wants the processor.
// What else the program does can wait. A program that shall stand back does so with all of its threads.
// By default it goes on without, if it may not, or was started with a nice value or a policy of its own.
func takePriority(in *config.Inline) (loops int, err error) {
	if in.Nice == 0 {
		return 0, nil
	}
	if loops, err = priority(in.Nice); err != nil && in.Nice == config.DefaultNice {
		return 0, nil
	}
	return loops, err
}

// priority is takePriority of a nice value.
func priority(nice int) (loops int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := sock.Thread()
	now, err := unix.SchedGetAttr(thread, 0)
	if err != nil {
		return 0, fmt.Errorf("looking for the nice value: %w", err)
	}
	usual, normal := int(now.Nice), now.Policy == unix.SCHED_NORMAL
	switch {
	case nice == config.DefaultNice && (usual != 0 || !normal):
		return 0, nil // as it was started: by nice(1), chrt(1), or Nice= and CPUSchedulingPolicy= of systemd
	case usual <= nice || !normal:
		return 0, setNice(nice)
	}
	if err = sock.SetNice(thread, nice); err == nil {
		err = sock.SetNice(thread, usual)
	}
	if err != nil {
		return 0, fmt.Errorf("setting nice %d: %w", nice, err)
	}
	return nice, nil
}

// setNice gives all threads of the process, and those to come, a nice value. The kernel has one for each thread (setpriority(2)).
func setNice(nice int) error {
	set := make(map[int]bool)
	for before := -1; len(set) > before; { // one that had it not yet may have made a new one
		before = len(set)
		threads, err := sock.Threads()
		if err != nil {
			return fmt.Errorf("setting nice %d: %w", nice, err)
		}
		for _, thread := range threads {
			if set[thread] {
				continue
			}
			err := unix.Setpriority(unix.PRIO_PROCESS, thread, nice)
			if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
				return fmt.Errorf("setting nice %d: %w", nice, err)
			}
			set[thread] = true
		}
	}
	return nil
}
