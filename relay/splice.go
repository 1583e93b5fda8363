// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	pipeSize = 1 << 20
	// spliceMax is more than any pipe holds: what fits is taken.
	spliceMax = 1 << 20
)

// pipe is where bytes wait on their way from one socket to the other without leaving the kernel.
type pipe struct {
	r, w int
	n    int // bytes inside
}

// pipes keeps empty ones. One that the collector takes from the pool is closed with it.
var pipes sync.Pool

func getPipe() (*pipe, error) {
	if v := pipes.Get(); v != nil {
		return v.(*pipe), nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	// Best effort: the default of 64 KiB works too, with more calls.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	p := &pipe{r: fds[0], w: fds[1]}
	runtime.SetFinalizer(p, (*pipe).close)
	return p, nil
}

// free gives an empty pipe back, and closes one that bytes were left in.
func (p *pipe) free() {
	if p.n == 0 {
		pipes.Put(p)
		return
	}
	p.close()
}

func (p *pipe) close() {
	runtime.SetFinalizer(p, nil)
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

// splicing marks a leg whose reads go into a pipe; it is never read or written.
var splicing = new(pipe)

// readPipe waits until there is something to read, and only then takes a pipe for it. It returns no
// pipe at the end of the stream.
func (l *leg) readPipe() (*pipe, error) {
	l.pipe = splicing
	err := l.wait()
	p := l.pipe
	l.pipe = nil
	if p == splicing {
		p = nil
	}
	return p, err
}

func (l *leg) spliceIn(fd int) bool {
	p, err := getPipe()
	if err != nil {
		l.readErr = err
		return true
	}
	n, err := splice(fd, p.w)
	switch {
	case err == unix.EAGAIN:
		p.free()
		return false
	case err != nil || n == 0:
		p.free()
		l.readErr = err
		return true
	}
	p.n = n
	l.pipe = p
	return true
}

// writePipe sends all that is in a pipe.
func (l *leg) writePipe(p *pipe) error {
	l.outPipe = p
	err := l.flush()
	l.outPipe = nil
	return err
}

func (l *leg) spliceOut(fd int) bool {
	p := l.outPipe
	for p.n > 0 {
		n, err := splice(p.r, fd)
		if err == unix.EAGAIN {
			return false
		}
		if err == nil && n == 0 {
			err = unix.EIO // the pipe is not empty
		}
		if err != nil {
			l.writeErr = err
			return true
		}
		p.n -= n
	}
	return true
}

func splice(from, to int) (int, error) {
	return retry(func() (int, error) {
		n, err := unix.Splice(from, nil, to, nil, spliceMax, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		return int(n), err
	})
}
