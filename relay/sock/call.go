// SPDX-License-Identifier: Apache-2.0

package sock

import (
	"net/netip"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of this file are made without a word to Go's runtime, since none of them waits: the sockets do
// not block. The first call that the runtime is told of after a rest wakes its monitor, a thread that then
// looks after the others every few microseconds, on a processor that somebody needs.

// call makes a system call of a buffer, or of an address, again if a signal broke it off.
func call(number uintptr, fd int, p unsafe.Pointer, size int, flags uintptr) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(number, uintptr(fd), uintptr(p), uintptr(size), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Read is read(2), of any descriptor.
func Read(fd int, b []byte) (int, error) {
	return call(unix.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b), 0)
}

// Write is write(2), to any descriptor.
func Write(fd int, b []byte) (int, error) {
	return call(unix.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b), 0)
}

// Receive is recv(2): Read for sockets, with less on the way.
func Receive(fd int, b []byte) (int, error) {
	return call(unix.SYS_RECVFROM, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b), 0)
}

// Send is send(2): Write for sockets, without a signal where the peer takes nothing any more. If there is more to come at once, or
// the end, what fills no packet waits for that.
func Send(fd int, b []byte, more bool) (int, error) {
	flags := uintptr(unix.MSG_NOSIGNAL)
	if more {
		flags |= unix.MSG_MORE
	}
	return call(unix.SYS_SENDTO, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b), flags)
}

// Shut is shutdown(2) of what is sent.
func Shut(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return errnoErr(errno)
}

// Close is close(2). There is nothing to do about an error: the descriptor is gone.
func Close(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// Accept is accept4(2). The connection does not block either.
func Accept(fd int) (conn int, from netip.AddrPort, err error) {
	return takeAddress(unix.SYS_ACCEPT4, fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
}

// Local is getsockname(2).
func Local(fd int) (netip.AddrPort, error) {
	_, a, err := takeAddress(unix.SYS_GETSOCKNAME, fd, 0)
	return a, err
}

// peer is getpeername(2).
func peer(fd int) (netip.AddrPort, error) {
	_, a, err := takeAddress(unix.SYS_GETPEERNAME, fd, 0)
	return a, err
}

// takeAddress makes a call that fills in an address.
func takeAddress(number uintptr, fd int, flags uintptr) (int, netip.AddrPort, error) {
	for {
		a := address{size: addressSize}
		n, _, errno := unix.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&a.raw)), uintptr(unsafe.Pointer(&a.size)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), a.addrPort(), nil
		case unix.EINTR:
		default:
			return -1, netip.AddrPort{}, errno
		}
	}
}

func bind(fd int, a *address) error {
	_, err := call(unix.SYS_BIND, fd, unsafe.Pointer(&a.raw), int(a.size), 0)
	return err
}

// begin is connect(2), which goes on after the call.
func begin(fd int, a *address) error {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&a.raw)), uintptr(a.size))
	if errno == unix.EINPROGRESS || errno == unix.EINTR {
		return nil
	}
	return errnoErr(errno)
}

// Events is epoll_pwait(2), without waiting.
func Events(epoll int, events []unix.EpollEvent) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))),
			uintptr(len(events)), 0, 0, 0)
		if errno != unix.EINTR {
			return int(n), errnoErr(errno)
		}
	}
}

// Yield is sched_yield(2).
func Yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// Thread is gettid(2).
func Thread() int {
	id, _, _ := unix.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
	return int(id)
}

// Threads returns the process's threads (proc_pid_task(5)).
func Threads() ([]int, error) {
	names, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	all := make([]int, len(names))
	for i, name := range names {
		if all[i], err = strconv.Atoi(name.Name()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Nice is getpriority(2) of a thread.
func Nice(thread int) (int, error) {
	raw, _, errno := unix.RawSyscall(unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, uintptr(thread), 0)
	return 20 - int(raw), errnoErr(errno) // "C library/kernel differences"
}

// SetNice is sched_setattr(2) of a thread, with SCHED_OTHER. Threads that it makes do not have its nice value if that is less than zero, but
// zero (SCHED_FLAG_RESET_ON_FORK): Go's scheduler makes them on any.
func SetNice(thread, nice int) error {
	attr := unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Nice: int32(nice),
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETATTR, uintptr(thread), uintptr(unsafe.Pointer(&attr)), 0)
	return errnoErr(errno)
}

// Set sets the option.
func (o Option) Set(fd int) error {
	value := int32(o.Value)
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(o.Level), uintptr(o.Name),
		uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
	return os.NewSyscallError("setsockopt", errnoErr(errno))
}

// errnoErr returns an error that is nil for 0.
func errnoErr(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
