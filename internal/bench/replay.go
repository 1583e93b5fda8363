// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

// replay sends the packets of one connection out of the client's interface: a handshake and then, at a steady rate,
// application data of the server's. No host takes them. As a mirror port does, it waits for nobody.
func (c *client) replay(j *job) (*answer, error) {
	// What is added to a full segment: heads, records, and half an acknowledgement.
	file := bytes.NewBuffer(make([]byte, 0, j.Bytes+j.Bytes/8+1<<20))
	defer debug.FreeOSMemory()
	pcap := newCapture(file)
	f := pcap.tls(captureClient(0), captureServer, captured(c.server))
	f.say(handshake.Client, []byte("GET /"))
	begins := pcap.size
	f.bulk(handshake.Server, j.Bytes)
	f.close()
	if err := pcap.end(); err != nil {
		return nil, err
	}
	s, err := newSender(nettest.ClientLink)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := c.ready(); err != nil {
		return nil, err
	}
	packets := file.Bytes()[fileHead:]
	a := &answer{Sums: pcap.sums}
	sent := make(chan error)
	go func() { // the thread ends with it
		err := urgent()
		if err == nil {
			err = s.send(packets[:begins], shakeTime)
		}
		begun := time.Now()
		if err == nil {
			err = s.send(packets[begins:], time.Duration(float64(j.Bytes)/j.Rate*float64(time.Second)))
		}
		a.Seconds = time.Since(begun).Seconds()
		sent <- err
	}()
	return a, <-sent
}

// urgent makes this goroutine go before all programs, as interrupts do, or nearly so where that is not allowed.
func urgent() error {
	runtime.LockOSThread()
	attr := unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if unix.SchedSetAttr(0, &attr, 0) == nil {
		return nil
	}
	return os.NewSyscallError("setpriority", unix.Setpriority(unix.PRIO_PROCESS, 0, -20))
}

const (
	// shakeTime is what the handshake takes: some round trips.
	shakeTime = 50 * time.Millisecond
	// sendPause is how long the sender sleeps, and sendCatchUp how many bytes it makes up for at once if that was
	// too long: a sniffer's buffer may be small.
	sendPause   = 100 * time.Microsecond
	sendCatchUp = 512 << 10
	sendBatch   = 64 // packets in one call
)

// sender sends packets as they are, past the queues of its interface.
type sender struct {
	fd   int
	iovs [sendBatch]unix.Iovec
	msgs [sendBatch]message
}

// message is the kernel's struct mmsghdr.
type message struct {
	head unix.Msghdr
	sent uint32
	_    uint32
}

func newSender(link string) (*sender, error) {
	iface, err := net.InterfaceByName(link)
	if err != nil {
		return nil, err
	}
	s := new(sender)
	// Protocol 0: it receives nothing.
	if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: iface.Index})
	if err == nil {
		err = unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	for i := range s.msgs {
		s.msgs[i].head.Iov, s.msgs[i].head.Iovlen = &s.iovs[i], 1
	}
	return s, nil
}

func (s *sender) close() { _ = unix.Close(s.fd) }

// send sends the packets of a pcap file in a time, spread evenly.
func (s *sender) send(packets []byte, span time.Duration) error {
	perByte := float64(span) / float64(len(packets))
	begun := time.Now()
	for sent := 0; sent < len(packets); {
		late := time.Since(begun) - time.Duration(float64(sent)*perByte)
		if late < 0 {
			pause := unix.NsecToTimespec(int64(max(-late, sendPause)))
			_ = unix.Nanosleep(&pause, nil)
			continue
		}
		due := int(float64(late) / perByte)
		if over := due - sendCatchUp; over > 0 {
			begun = begun.Add(time.Duration(float64(over) * perByte))
			due = sendCatchUp
		}
		n, err := s.batch(packets[sent:], due)
		if err != nil {
			return err
		}
		sent += n
	}
	return nil
}

// batch sends a packet, and up to a whole batch as long as it is no more than most bytes.
func (s *sender) batch(packets []byte, most int) (n int, err error) {
	k := 0
	for k < sendBatch && n < len(packets) && (k == 0 || n < most) {
		size := int(binary.LittleEndian.Uint32(packets[n+8:]))
		data := packets[n+packetHead:][:size]
		s.iovs[k].Base = &data[0]
		s.iovs[k].SetLen(size)
		k, n = k+1, n+packetHead+size
	}
	for i := 0; i < k; {
		m, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[i])), uintptr(k-i), 0, 0, 0)
		if errno != 0 {
			return 0, fmt.Errorf("the wire lost a packet: %w", os.NewSyscallError("sendmmsg", errno))
		}
		i += int(m)
	}
	return n, nil
}
