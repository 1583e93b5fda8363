// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
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
	// Heads and records are added to what is said.
	room := make([]byte, j.Bytes+j.Bytes/64+1<<20)
	// In small pages the kernel takes longer to read them than to send what they hold, where both are virtual.
	_ = unix.Madvise(room, unix.MADV_HUGEPAGE) // so much memory begins with a page
	file := bytes.NewBuffer(room[:0])
	defer debug.FreeOSMemory()
	defer debug.SetGCPercent(debug.SetGCPercent(replayCollection)) // the room counts as in use: with peerCollection, garbage is ten times that
	pcap := newCapture(file)
	pcap.merged = sendMerged
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

// replayCollection is GOGC while packets are made.
const replayCollection = 10

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
	sendBatch   = 8  // packets in one call
	sendMerged  = 16 // segments in one packet
)

// sender sends packets. It has the kernel cut what is larger than a segment, and add checksums.
type sender struct {
	link string
	fd   int
	iovs [sendBatch][2]unix.Iovec
	msgs [sendBatch]message
}

// offloads are the kernel's struct virtio_net_hdr, which says what it is to do with a packet: add the checksum, and cut.
var offloads = [2][10]byte{offload(unix.VIRTIO_NET_HDR_GSO_NONE, 0), offload(unix.VIRTIO_NET_HDR_GSO_TCPV4, segmentLen)}

func offload(kind byte, segment uint16) (b [10]byte) {
	const tcpAt, sumAt = 34, 16
	b[0], b[1] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, kind
	for i, v := range []uint16{headLen, segment, tcpAt, sumAt} {
		binary.NativeEndian.PutUint16(b[2+2*i:], v)
	}
	return b
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
	s := &sender{link: link}
	// Protocol 0: it receives nothing.
	if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: iface.Index})
	if err == nil {
		err = unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	}
	if err == nil {
		err = s.largest(headLen + segmentLen) // or else what is merged would cross the wire as it is
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	for i := range s.msgs {
		s.msgs[i].head.Iov, s.msgs[i].head.Iovlen = &s.iovs[i][0], 2
	}
	return s, nil
}

func (s *sender) close() {
	_ = unix.Close(s.fd)
	_ = s.largest(1 << 16)
}

// largest says from how many bytes on packets are cut on their way out.
func (s *sender) largest(n int) error {
	out, err := exec.Command("ip", "link", "set", "dev", s.link, "gso_max_size", fmt.Sprint(n)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip link set: %w: %s", err, out)
	}
	return nil
}

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
		what := &offloads[0]
		if size > headLen+segmentLen {
			what = &offloads[1]
		}
		v := &s.iovs[k]
		v[0].Base, v[1].Base = &what[0], &data[0]
		v[0].SetLen(len(what))
		v[1].SetLen(size)
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
