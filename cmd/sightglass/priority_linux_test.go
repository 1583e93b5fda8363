// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/relay/sock"
)

// TestPriority: all threads stand back, those that there were and those that come; to be raised is for the loops', later; and who may not
// goes on without. It is looked at in a process of its own, as without privileges there is no way back.
func TestPriority(t *testing.T) {
	if !nettest.Alone(t) {
		return
	}
	const nice = 7
	may := os.Geteuid() == 0 || os.Getenv("CI") == "true"
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
	threads, err := sock.Threads()
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		if has, err := sock.Nice(thread); err != nil || has != nice {
			t.Errorf("thread %d has nice %d, %v, want %d", thread, has, err, nice)
		}
	}

	if loops, err := takePriority(&config.Inline{Nice: config.DefaultNice}); err != nil || loops != 0 {
		t.Errorf("by default, with a nice value of its own: %d, %v, want nothing", loops, err)
	}
	if loops, err := takePriority(&config.Inline{Nice: nice - 1}); may && (err != nil || loops != nice-1) {
		t.Errorf("%d, %v, want %d", loops, err, nice-1)
	}
	if has, err := sock.Nice(sock.Thread()); err != nil || has != nice {
		t.Errorf("this thread has nice %d then, %v, want %d still", has, err, nice)
	}

	if err := sock.SetNice(sock.Thread(), 0); may && err != nil {
		t.Error(err)
	}
	if loops, err := takePriority(&config.Inline{Nice: config.DefaultNice}); may && (err != nil || loops != config.DefaultNice) {
		t.Errorf("by default: %d, %v, want %d", loops, err, config.DefaultNice)
	}

	if err := unix.Setrlimit(unix.RLIMIT_NICE, &unix.Rlimit{}); err != nil {
		t.Fatal(err)
	}
	var none [2]unix.CapUserData // version 3 has two (capget(2))
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		t.Fatal(err)
	}
	if loops, err := takePriority(&config.Inline{Nice: config.DefaultNice}); err != nil || loops != 0 {
		t.Errorf("by default, without privileges: %d, %v, want nothing", loops, err)
	}
	if _, err := takePriority(&config.Inline{Nice: config.DefaultNice - 1}); !errors.Is(err, unix.EPERM) {
		t.Errorf("when asked for: %v, want %v", err, unix.EPERM)
	}
}
