// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leg is one TCP connection of a flow. One goroutine reads it and one writes it; each has fields of
// its own here, so that a call needs no closure and no allocation.
type leg struct {
	conn Conn
	raw  syscall.RawConn

	// The reader's.
	tryRead func(fd uintptr) bool
	class   uint8
	in      *buffer
	readN   int
	readErr error
	pipe    *pipe // set: read into it instead
	pause   bool  // only wait

	// The writer's.
	tryWrite func(fd uintptr) bool
	out      []byte
	outPipe  *pipe // set: write its bytes instead
	once     bool  // do not wait
	writeErr error
}

func (l *leg) init(c Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return opError(c, "control", err)
	}
	l.conn, l.raw = c, raw
	l.tryRead, l.tryWrite = l.readReady, l.writeReady
	return nil
}

// read waits until there is something to read, and only then takes a buffer for it: an idle leg
// holds none. n is 0 at the end of the stream. The caller frees the buffer, nil on error.
func (l *leg) read() (buf *buffer, n int, err error) {
	err = l.wait()
	buf, l.in = l.in, nil
	if err != nil {
		return nil, 0, err
	}
	if buf != nil && l.readN == 0 {
		buf.free()
		buf = nil
	}
	l.class = nextClass(l.class, l.readN)
	return buf, l.readN, nil
}

// wait runs tryRead until it is done, and wraps what went wrong.
func (l *leg) wait() error {
	l.readN, l.readErr = 0, nil
	err := l.raw.Read(l.tryRead)
	if err == nil && l.readErr != nil {
		err = os.NewSyscallError("read", l.readErr)
	}
	if err != nil {
		return opError(l.conn, "read", err)
	}
	return nil
}

func (l *leg) readReady(fd uintptr) bool {
	switch {
	case l.pause:
		return l.peekError(int(fd))
	case l.pipe != nil:
		return l.spliceIn(int(fd))
	}
	buf := getBuffer(l.class)
	n, err := retry(func() (int, error) { return unix.Read(int(fd), buf.b) })
	if err == unix.EAGAIN {
		buf.free()
		return false
	}
	if err != nil {
		buf.free()
		l.readErr = err
		return true
	}
	l.in, l.readN = buf, n
	return true
}

// park waits until the leg breaks or its read deadline is moved, whatever can be read.
func (l *leg) park() error {
	l.pause = true
	err := l.wait()
	l.pause = false
	return err
}

// peekError is done when the connection has an error, such as a reset.
func (l *leg) peekError(fd int) bool {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		l.readErr = err
	case errno != 0:
		l.readErr = syscall.Errno(errno)
	default:
		return false
	}
	return true
}

// write sends all of b, and waits for the peer to take it as long as that lasts.
func (l *leg) write(b []byte) error {
	l.out, l.once = b, false
	return l.flush()
}

// writeNow sends what of b the socket takes at once.
func (l *leg) writeNow(b []byte) (n int, err error) {
	l.out, l.once = b, true
	err = l.flush()
	n = len(b) - len(l.out)
	l.out = nil
	return n, err
}

func (l *leg) flush() error {
	l.writeErr = nil
	err := l.raw.Write(l.tryWrite)
	if err == nil && l.writeErr != nil {
		err = os.NewSyscallError("write", l.writeErr)
	}
	if err != nil {
		return opError(l.conn, "write", err)
	}
	return nil
}

func (l *leg) writeReady(fd uintptr) bool {
	if l.outPipe != nil {
		return l.spliceOut(int(fd))
	}
	for len(l.out) > 0 {
		n, err := retry(func() (int, error) { return unix.Write(int(fd), l.out) })
		if err == unix.EAGAIN {
			return l.once
		}
		if err != nil {
			l.writeErr = err
			return true
		}
		l.out = l.out[n:]
	}
	return true
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// past wakes whoever waits on a deadline.
var past = time.Unix(1, 0)

// poke makes the reader look at the flow's state; unpoke lets it wait again.
func (l *leg) poke()   { _ = l.conn.SetReadDeadline(past) }
func (l *leg) unpoke() { _ = l.conn.SetReadDeadline(time.Time{}) }

// reset closes a connection so that the peer gets a RST.
func reset(c Conn) {
	_ = control(c, func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	})
	_ = c.Close()
}

// control calls fn with the descriptor of a socket, which is open during the call and not after. Its
// error is a *net.OpError.
func control(c syscall.Conn, fn func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err == nil {
		var inner error
		err = raw.Control(func(fd uintptr) { inner = fn(int(fd)) })
		if err == nil {
			err = inner
		}
	}
	if err != nil {
		return opError(c, "control", err)
	}
	return nil
}
