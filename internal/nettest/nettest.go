// SPDX-License-Identifier: Apache-2.0

// Package nettest makes hosts to test with: network namespaces joined by veth pairs, with processes
// that end when their namespace does, and captures of what crossed a wire. It knows nothing of TLS
// and nothing of the program under test; the demo uses it as the tests do.
package nettest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Namespace is one host: a network namespace of its own, with loopback up. It has no name in the
// file system and is gone when it is closed and the last process in it has ended.
type Namespace struct {
	name string
	file *os.File
	nl   *netlink.Handle

	mu        sync.Mutex
	processes []*Process
	captures  []*Capture
}

// New makes a namespace. The name stands in errors only.
func New(name string) (*Namespace, error) {
	n := &Namespace{name: name}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making network namespace %s: %w%s", name, err, privilegeHint(err))
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return fmt.Errorf("opening network namespace %s: %w", name, err)
		}
		n.file = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := n.prepare(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func privilegeHint(err error) string {
	if errors.Is(err, unix.EPERM) {
		return ": run as root, or allow user namespaces (kernel.unprivileged_userns_clone, user.max_user_namespaces)"
	}
	return ""
}

// prepare brings loopback up and lets addresses work from the moment they are set.
func (n *Namespace) prepare() error {
	handle, err := netlink.NewHandleAt(netns.NsHandle(n.file.Fd()))
	if err != nil {
		return fmt.Errorf("netlink in namespace %s: %w", n.name, err)
	}
	n.nl = handle
	// Without duplicate address detection link-local addresses, too, are usable at once.
	for _, key := range []string{"net/ipv6/conf/all/accept_dad", "net/ipv6/conf/default/accept_dad"} {
		if err := n.Sysctl(key, "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return n.Up("lo")
}

// Close ends the namespace's processes and captures and lets go of it.
func (n *Namespace) Close() error {
	n.mu.Lock()
	processes, captures := n.processes, n.captures
	n.processes, n.captures = nil, nil
	n.mu.Unlock()
	for i := len(processes) - 1; i >= 0; i-- {
		processes[i].Stop()
	}
	for _, c := range captures {
		c.release()
	}
	if n.nl != nil {
		n.nl.Close()
	}
	return n.file.Close()
}

// Name returns the name given to New.
func (n *Namespace) Name() string { return n.name }

// Fd returns a descriptor of the namespace, owned by n.
func (n *Namespace) Fd() int { return int(n.file.Fd()) }

// Path returns a path under which other programs of this process's owner can enter the namespace.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Do runs f on an operating-system thread that is inside the namespace. Sockets that f makes stay
// in it; goroutines that f starts are not in it.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace %s: %w", n.name, err)
		}
		return f()
	})
}

// onThread runs f on a locked thread and puts the thread's namespace back afterwards. A thread that
// cannot be put back ends with its goroutine, so nothing else ever runs in the wrong namespace.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		finished := false
		defer func() {
			if !finished { // f called runtime.Goexit, as testing's FailNow does
				result <- errors.New("the function did not return")
			}
		}()
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- err
			finished = true
			return
		}
		defer func() { _ = home.Close() }()
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		finished = true
		result <- err
	}()
	return <-result
}

// Sysctl sets a value of this namespace: key with slashes or dots, such as "net.ipv4.ip_forward".
func (n *Namespace) Sysctl(key, value string) error {
	return n.Do(func() error { return writeSysctl(key, value) })
}

// GetSysctl reads a value of this namespace.
func (n *Namespace) GetSysctl(key string) (value string, err error) {
	err = n.Do(func() error {
		value, err = readSysctl(key)
		return err
	})
	return value, err
}

// Listen opens a listener inside the namespace.
func (n *Namespace) Listen(network, address string) (ln net.Listener, err error) {
	err = n.Do(func() error {
		ln, err = net.Listen(network, address)
		return err
	})
	return ln, err
}

// Dial connects from inside the namespace. The address must be numeric.
func (n *Namespace) Dial(network, address string) (conn net.Conn, err error) {
	return n.DialFrom(nil, network, address)
}

// DialFrom is Dial from a given local address; nil leaves the choice to the kernel.
func (n *Namespace) DialFrom(local net.Addr, network, address string) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: local}
	err = n.Do(func() error {
		conn, err = d.Dial(network, address)
		return err
	})
	return conn, err
}

// MapRoot prepares cmd to run as root of a user namespace of its own, where an unprivileged user may
// make network namespaces. Without it, or when already root, New needs privilege.
func MapRoot(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
}
