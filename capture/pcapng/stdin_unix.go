// SPDX-License-Identifier: Apache-2.0

//go:build unix

package pcapng

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// awaitStdin has reads of standard input wait for what there is to read, or for ctx's end. A read that waits itself could not be ended:
// the program may share what it reads with others, and is not to change how they read (O_NONBLOCK).
func (in *Input) awaitStdin() error {
	ended, end, err := os.Pipe()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(in.ctx, func() { end.Close() })
	in.done = append(in.done, func() {
		stop()
		end.Close()
		ended.Close()
	})
	polled := []unix.PollFd{{Events: unix.POLLIN}, {}} // of the second its hangup, which comes unasked
	for i, f := range []*os.File{in.file, ended} {
		c, err := f.SyscallConn()
		if err == nil {
			err = c.Control(func(fd uintptr) { polled[i].Fd = int32(fd) })
		}
		if err != nil {
			in.Close()
			return err
		}
	}
	in.await = func() error {
		for {
			if _, err := unix.Poll(polled, -1); err != unix.EINTR {
				return os.NewSyscallError("poll", err)
			}
		}
	}
	return nil
}
