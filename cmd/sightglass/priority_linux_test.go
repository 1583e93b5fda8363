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
	"github.com/sightglass/sightglass/relay/sock"
)

// TestPriority: all threads stand back, those that there were and those that come; to be raised is for the loops', later; and who may not
// goes on without. It is looked at in a process of its own, as without privileges there is no way back.
func TestPriority(t *testing.T) {
	if !alone(t) {
		return
	}
	const nice = 7
	root := os.Geteuid() == 0
	runtime.LockOSThread() // the next goroutine has another
	if loops, err := takePriority(&config.Inline{Nice: nice}); err != nil || loops != 0 {
		t.Fatalf("%d, %v, want 0", loops, err)
	}
	came := make(chan int)
	go func() {
		runtime.LockOSThread()
		came <- unix.Gettid()
		select {}
	}()
	if has, err := sock.Nice(<-came); err != nil || has != nice {
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
		if has, err := sock.Nice(id); err != nil || has != nice {
			t.Errorf("thread %d has nice %d, %v, want %d", id, has, err, nice)
		}
	}

	if loops, err := takePriority(&config.Inline{Nice: nice - 1}); root && (err != nil || loops != nice-1) {
		t.Errorf("%d, %v, want %d", loops, err, nice-1)
	}
	if has, err := sock.Nice(sock.Thread()); err != nil || has != nice {
		t.Errorf("this thread has nice %d then, %v, want %d still", has, err, nice)
	}

	if err := unix.Setrlimit(unix.RLIMIT_NICE, &unix.Rlimit{}); err != nil {
		t.Fatal(err)
	}
	var none [2]unix.CapUserData // version 3 has two (capget(2))
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		t.Fatal(err)
	}
	if loops, err := takePriority(&config.Inline{Nice: config.DefaultNice}); err != nil || loops != 0 {
		t.Errorf("by default: %d, %v, want nothing", loops, err)
	}
	if _, err := takePriority(&config.Inline{Nice: config.DefaultNice - 1}); !errors.Is(err, unix.EPERM) {
		t.Errorf("when asked for: %v, want %v", err, unix.EPERM)
	}
}
