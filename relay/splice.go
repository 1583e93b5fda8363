// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"os"
	"runtime"
	"sync"
	"time"

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

// splice passes bytes on inside the kernel, and returns whether there were any.
func (d *direction) splice(now time.Time) bool {
	p, err := getPipe()
	if err != nil {
		d.flow.broke(d.side, d.src.opError("splice", os.NewSyscallError("pipe2", err)))
		return true
	}
	n, err := splice(d.src.fd, p.w)
	d.reads++
	if err != nil || n == 0 {
		p.free()
	}
	switch {
	case err == unix.EAGAIN:
		d.src.readable = false
		return false
	case err != nil:
		d.flow.broke(d.side, d.src.opError("read", os.NewSyscallError("splice", err)))
		return true
	case n == 0:
		d.end(now)
		return true
	}
	p.n = n
	d.pipe = p
	d.class = nextClass(d.class, n)
	d.unseen += uint64(n)
	d.flow.loop.spliced[d.side].Add(uint64(n))
	d.flow.relayed(d.side, n, now)
	d.flush()
	return true
}

// flushPipe sends what dst takes of what is in the pipe, and gives an empty one back.
func (d *direction) flushPipe() error {
	for d.pipe.n > 0 {
		n, err := splice(d.pipe.r, d.dst.fd)
		if err == unix.EAGAIN {
			d.dst.writable = false
			return nil
		}
		if err == nil && n == 0 {
			err = unix.EIO // the pipe is not empty
		}
		if err != nil {
			return d.dst.opError("write", os.NewSyscallError("splice", err))
		}
		d.pipe.n -= n
	}
	d.pipe.free()
	d.pipe = nil
	return nil
}

func splice(from, to int) (int, error) {
	return retry(func() (int, error) {
		n, err := unix.Splice(from, nil, to, nil, spliceMax, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		return int(n), err
	})
}
