// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/internal/config"
)

// TestPriority: all threads have it, those that there were and those that come, and who may not raise it goes on without. It is looked at
// in a process of its own, as without privileges there is no way back.
func TestPriority(t *testing.T) {
	if !alone(t) {
		return
	}
	const nice = 7
	runtime.LockOSThread() // the next goroutine has another
	if err := takePriority(&config.Inline{Nice: nice}); err != nil {
		t.Fatal(err)
	}
	came := make(chan int)
	go func() {
		runtime.LockOSThread()
		came <- unix.Gettid()
		select {}
	}()
	if has, err := threadNice(<-came); err != nil || has != nice {
		t.Errorf("a thread that came has nice %d, %v, want %d", has, err, nice)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		if has, err := threadNice(id); err != nil || has != nice {
			t.Errorf("thread %d has nice %d, %v, want %d", id, has, err, nice)
		}
	}

	if err := unix.Setrlimit(unix.RLIMIT_NICE, &unix.Rlimit{}); err != nil {
		t.Fatal(err)
	}
	var none [2]unix.CapUserData // version 3 has two (capget(2))
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		t.Fatal(err)
	}
	if err := takePriority(&config.Inline{Nice: config.DefaultNice}); err != nil {
		t.Errorf("by default: %v, want nothing", err)
	}
	if err := takePriority(&config.Inline{Nice: config.DefaultNice - 1}); !errors.Is(err, unix.EACCES) {
		t.Errorf("when asked for: %v, want %v", err, unix.EACCES)
	}
}

// threadNice returns the nice value of a thread.
func threadNice(id int) (int, error) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, id) // 20 less it (getpriority(2), "C library/kernel differences")
	return 20 - raw, err
}
