// SPDX-License-Identifier: Apache-2.0

//go:build unix

package pcapng

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// awaitStdin has reads of standard input wait for what there is to read, or for ctx's end: a read that waits could not be ended, as
// the program shares what it reads with others, and may not change how they read.
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
	polled := []unix.PollFd{{Fd: int32(in.file.Fd()), Events: unix.POLLIN}, {Fd: int32(ended.Fd())}} // the hangup comes unasked
	in.await = func() error {
		for {
			if _, err := unix.Poll(polled, -1); err != unix.EINTR {
				return os.NewSyscallError("poll", err)
			}
		}
	}
	return nil
}
