// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxFrame holds any frame, those that offloads merged included.
	maxFrame      = 256 << 10
	captureBuffer = 64 << 20
)

// A Frame is one captured link-layer frame.
type Frame struct {
	Time time.Time
	Data []byte
}

// A Capture takes every frame that crosses one interface, both ways.
type Capture struct {
	fd     int
	wakeFd int
	done   chan struct{}

	once   sync.Once
	err    error
	frames []Frame // the reading goroutine's until done is closed
}

// Capture starts to capture on an interface. It has begun when Capture returns: no later frame is
// missed.
func (n *Namespace) Capture(name string) (*Capture, error) {
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("capturing on %s in %s: %w", name, n.name, err)
	}
	c := &Capture{done: make(chan struct{})}
	err = n.Do(func() error { return c.open(link.Attrs().Index) })
	if err != nil {
		return nil, fmt.Errorf("capturing on %s in %s: %w", name, n.name, err)
	}
	go c.read()
	n.mu.Lock()
	n.captures = append(n.captures, c)
	n.mu.Unlock()
	return c, nil
}

func (c *Capture) open(ifindex int) error {
	// Protocol 0 receives nothing until the bind: no frame of another interface slips in.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer)
	}
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}); err != nil {
		_ = unix.Close(fd)
		return err
	}
	c.wakeFd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	c.fd = fd
	return nil
}

// read takes frames until it is woken, and then what is still queued.
func (c *Capture) read() {
	defer close(c.done)
	buf := make([]byte, maxFrame)
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}, {Fd: int32(c.wakeFd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			c.err = err
			return
		}
		for {
			n, _, err := unix.Recvfrom(c.fd, buf, unix.MSG_TRUNC)
			if err != nil {
				break
			}
			if n > len(buf) {
				c.err = fmt.Errorf("a frame of %d bytes is too large to capture", n)
				return
			}
			c.frames = append(c.frames, Frame{Time: time.Now(), Data: append([]byte(nil), buf[:n]...)})
		}
		if fds[1].Revents != 0 {
			return
		}
	}
}

// Stop ends the capture and returns its frames, in order. It fails if any was lost.
func (c *Capture) Stop() ([]Frame, error) {
	c.release()
	return c.frames, c.err
}

func (c *Capture) release() {
	c.once.Do(func() {
		_, _ = unix.Write(c.wakeFd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-c.done
		stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if c.err == nil && err == nil && stats.Drops > 0 {
			c.err = fmt.Errorf("the capture lost %d frames", stats.Drops)
		}
		_ = unix.Close(c.fd)
		_ = unix.Close(c.wakeFd)
	})
}

// Pcap returns frames as a pcap file with nanosecond times, link type Ethernet.
func Pcap(frames []Frame) []byte {
	out := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
	out = binary.LittleEndian.AppendUint16(out, 2)
	out = binary.LittleEndian.AppendUint16(out, 4)
	for _, v := range []uint32{0, 0, maxFrame, 1} {
		out = binary.LittleEndian.AppendUint32(out, v)
	}
	for _, f := range frames {
		for _, v := range []int{int(f.Time.Unix()), f.Time.Nanosecond(), len(f.Data), len(f.Data)} {
			out = binary.LittleEndian.AppendUint32(out, uint32(v))
		}
		out = append(out, f.Data...)
	}
	return out
}
