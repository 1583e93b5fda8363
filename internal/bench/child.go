// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/internal/nettest"
)

// child is a process of the bench. It has a bound on its life, however it behaves.
type child struct {
	name  string
	proc  *nettest.Process
	said  tail
	timer *time.Timer
}

// tail keeps the last of what a process says, for when it fails.
type tail struct {
	mu  sync.Mutex
	b   []byte
	all bool // keep everything
}

const tailLen = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - tailLen; over > 0 && !t.all {
		t.b = t.b[over:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// start starts cmd in a namespace, on some of the processors; it is killed when it is older than bound. What cmd does not write
// elsewhere is kept.
func start(n *nettest.Namespace, bound time.Duration, on cpuList, cmd *exec.Cmd) (*child, error) {
	c := &child{name: filepath.Base(cmd.Path)}
	if err := on.confine(cmd); err != nil {
		return nil, err
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &c.said
	}
	if cmd.Stdout == nil {
		cmd.Stdout = &c.said
	}
	var err error
	if c.proc, err = n.Start(cmd); err != nil {
		return nil, err
	}
	c.timer = time.AfterFunc(bound, c.proc.Kill)
	return c, nil
}

// stopGrace is how long a process may take to write what it has to say, on a machine that is busy.
const stopGrace = 20 * time.Second

// stop ends the process in order, or by force.
func (c *child) stop() {
	if c == nil {
		return
	}
	_ = c.proc.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-c.proc.Done():
	case <-time.After(stopGrace):
	}
	c.proc.Stop()
	c.timer.Stop()
}

// wait waits for the process to end by itself, and well.
func (c *child) wait() error {
	err := c.proc.Wait()
	c.timer.Stop()
	return c.wrap(err)
}

func (c *child) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w\n%s", c.name, err, c.said.String())
}

// says waits until the process has said something that contains text.
func (c *child) says(ctx context.Context, text string) error {
	ctx, stop := context.WithTimeout(ctx, startBound)
	defer stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(c.said.String(), text) {
		select {
		case <-c.proc.Done():
			return c.alive()
		case <-ctx.Done():
			return c.wrap(fmt.Errorf("it did not say %q: %w", text, ctx.Err()))
		case <-tick.C:
		}
	}
	return nil
}

// startBound is how long a process may take until it is ready.
const startBound = 20 * time.Second

// alive says so, or what the process said last.
func (c *child) alive() error {
	select {
	case <-c.proc.Done():
		return c.wrap(errors.Join(errors.New("it ended too early"), c.proc.Wait()))
	default:
		return nil
	}
}

// cpu returns the processor time of the process so far, and of its children that live.
func (c *child) cpu() (total time.Duration, err error) {
	own := c.proc.Pid()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", own))
	if err != nil {
		return 0, c.wrap(err)
	}
	for _, text := range append(strings.Fields(string(children)), strconv.Itoa(own)) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return 0, c.wrap(err)
		}
		var ts unix.Timespec
		// Linux: the clock of a process's processor time has its ID, inverted, above three bits that say so.
		if err := unix.ClockGettime(int32(^pid)<<3|2, &ts); err != nil {
			return 0, c.wrap(err)
		}
		total += time.Duration(ts.Nano())
	}
	return total, nil
}

// settled returns cpu when the process has stopped taking any, and since when it has: what it does behind its peers' backs counts.
func (c *child) settled() (total time.Duration, since time.Time, err error) {
	begun := time.Now()
	total, err = c.cpu()
	since = begun
	for still := 0; err == nil && still < 8; still++ { // longer than sightglass lets a few requests of the key wait for more
		time.Sleep(5 * time.Millisecond)
		var now time.Duration
		if now, err = c.cpu(); now-total >= 400*time.Microsecond {
			if time.Since(begun) > settleBound {
				return 0, since, c.wrap(errors.New("it does not come to rest"))
			}
			total, since, still = now, time.Now(), -1
		}
	}
	return total, since, err
}

// settleBound is how long a process may take for what its peers do not wait for.
const settleBound = 10 * time.Second

// resident returns how much memory the process holds, in bytes.
func (c *child) resident() (int64, error) { return c.status("VmRSS:") }

func (c *child) status(field string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.proc.Pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no %s of %s", field, c.name)
}

// wantFiles is how many files a process may have open where the system lets us: a box has two for each
// flow of 10,000, and more.
const wantFiles = 40_000

// raiseLimits lets this process and its children have many files open, and returns how many.
func raiseLimits() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: wantFiles, Max: max(wantFiles, limit.Max)}); err == nil {
		return wantFiles, nil
	}
	files := min(wantFiles, limit.Max)
	return int(files), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: limit.Max})
}

// ownCPU returns the processor time of this process.
func ownCPU() time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r) // fails on bad arguments only
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
