// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a process may take to end in order before it is killed.
const stopGrace = 2 * time.Second

// A Process runs inside a namespace, in a process group of its own.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; set before done is closed
	stop sync.Once
}

// Start starts cmd inside the namespace. It ends with the namespace, and its whole process group
// with it. Set cmd's input and outputs before; use neither cmd.Wait nor cmd.Process after.
func (n *Namespace) Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	// Pipes that a grandchild keeps open must not keep Wait from returning.
	cmd.WaitDelay = time.Second
	// The child is cloned from the calling thread and so starts in that thread's namespace.
	if err := n.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("starting %s in %s: %w", cmd.Path, n.name, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	n.mu.Lock()
	n.processes = append(n.processes, p)
	n.mu.Unlock()
	return p, nil
}

// Pid returns the process's ID.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the process's end and returns what exec.Cmd.Wait does.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the process, not to its group.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Stop ends the process group, in order if it will and by force if not, and waits for it. Stopping
// a process that has ended is no error.
func (p *Process) Stop() {
	p.stop.Do(func() {
		group := -p.cmd.Process.Pid
		_ = unix.Kill(group, unix.SIGTERM)
		grace := time.NewTimer(stopGrace)
		defer grace.Stop()
		select {
		case <-p.done:
		case <-grace.C:
		}
		_ = unix.Kill(group, unix.SIGKILL)
		<-p.done
	})
}

// Kill ends the process group at once, as kill -9 does, and waits for it.
func (p *Process) Kill() {
	p.stop.Do(func() {
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
		<-p.done
	})
}
