// SPDX-License-Identifier: Apache-2.0

package sock

import (
	"os"

	"golang.org/x/sys/unix"
)

// MakeRoom has the process's table of descriptors hold n of them, one or more, or as many as the process may have open (RLIMIT_NOFILE), 8 bytes
// each of the kernel's memory. The table begins with 64 and doubles when one does not fit. In a program with threads who opens that one waits
// for all processors to have passed a quiet moment (synchronize_rcu in expand_fdtable of the kernel's fs/file.c), for 6 to 36 ms on a
// busy machine.
func MakeRoom(n int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	defer unix.Close(event)
	last := int(min(uint64(n), limit.Cur)) - 1
	fd, err := unix.FcntlInt(uintptr(event), unix.F_DUPFD_CLOEXEC, last) // last, or the first free one after it
	if err == unix.EMFILE {
		return nil // last is open already
	}
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	return os.NewSyscallError("close", unix.Close(fd))
}
