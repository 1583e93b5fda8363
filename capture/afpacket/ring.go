// SPDX-License-Identifier: Apache-2.0

//go:build linux

package afpacket

import (
	"errors"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Packet is a packet in the ring.
type Packet struct {
	Data   []byte // until its block is released
	Length int    // on the wire, at least len(Data)
	Time   int64  // nanoseconds since 1970, as the kernel received it
	// Tag is the outermost VLAN tag, which the kernel has taken out of Data: identifier and priority.
	// TagType is its EtherType. Tagged says that there is one.
	Tag     uint16
	TagType uint16
	Tagged  bool
	// Outgoing packets were sent by this machine.
	Outgoing bool
	// Index is the number of the interface.
	Index int

	loopback bool
}

// VLAN returns the outermost VLAN's identifier, 0 if there was no tag beside the packet.
func (p *Packet) VLAN() uint16 {
	if !p.Tagged {
		return 0
	}
	return p.Tag & 0xfff
}

// Block is a number of packets in the ring.
type Block struct {
	mem   []byte
	left  uint32
	off   uint32
	index int
}

// ErrTimeout says that no block came in time.
var ErrTimeout = errors.New("no packets came")

// ErrGone says that the interface was removed.
var ErrGone = errors.New("the interface is gone")

// status returns where kernel and user say whose a block is.
func (s *Socket) status(i int) *uint32 {
	desc := (*unix.TpacketBlockDesc)(unsafe.Pointer(&s.ring[i*blockSize]))
	return (*uint32)(unsafe.Pointer(&desc.Hdr)) // block_status is the first field
}

// Block waits for the next block, up to timeout; ErrTimeout if none came. While an interface is
// down none does. Each block is released before the next is asked for.
func (s *Socket) Block(b *Block, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for atomic.LoadUint32(s.status(s.next))&unix.TP_STATUS_USER == 0 {
		left := time.Until(deadline)
		switch {
		case left > 0:
		case s.down && s.gone():
			return ErrGone
		default:
			return ErrTimeout
		}
		if err := s.poll(left); err != nil {
			return err
		}
	}
	mem := s.ring[s.next*blockSize : (s.next+1)*blockSize]
	hdr := (*unix.TpacketHdrV1)(unsafe.Pointer(&(*unix.TpacketBlockDesc)(unsafe.Pointer(&mem[0])).Hdr))
	*b = Block{mem: mem, left: hdr.Num_pkts, off: hdr.Offset_to_first_pkt, index: s.next}
	return nil
}

func (s *Socket) poll(timeout time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN | unix.POLLERR}}
	ms := max(1, int(timeout.Milliseconds()))
	n, err := unix.Poll(fds, ms)
	switch {
	case err == unix.EINTR:
		return nil
	case err != nil:
		return os.NewSyscallError("poll", err)
	case n == 0 || fds[0].Revents&unix.POLLERR == 0:
		return nil
	}
	// Asking for the error takes it away. An interface that is down may come up again, or go, of
	// which there is no word.
	v, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt SO_ERROR", err)
	case unix.Errno(v) == unix.ENETDOWN:
		s.down = true
		return nil
	case v == 0:
		return nil
	}
	return os.NewSyscallError("capture", unix.Errno(v))
}

// gone reports whether the socket has lost its interface for good.
func (s *Socket) gone() bool {
	sa, err := unix.Getsockname(s.fd)
	ll, ok := sa.(*unix.SockaddrLinklayer)
	return err == nil && ok && ll.Ifindex < 0
}

// Release gives a block back to the kernel.
func (s *Socket) Release(b *Block) {
	atomic.StoreUint32(s.status(b.index), unix.TP_STATUS_KERNEL)
	s.next = (b.index + 1) * blockSize % len(s.ring) / blockSize
	b.mem, b.left = nil, 0
}

const (
	headerSize = uint32(unsafe.Sizeof(unix.Tpacket3Hdr{}))
	// addressAt is where the link-layer address of a packet is, behind its header.
	addressAt = (headerSize + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1)
	reach     = addressAt + uint32(unsafe.Sizeof(unix.RawSockaddrLinklayer{}))
)

// Next returns the next packet of a block, and whether there was one. What goes out of a loopback
// interface, and so comes in again, is passed over.
func (b *Block) Next(p *Packet) bool {
	for b.packet(p) {
		if !p.loopback || !p.Outgoing {
			return true
		}
	}
	return false
}

func (b *Block) packet(p *Packet) bool {
	if b.left == 0 || uint64(b.off)+uint64(reach) > uint64(len(b.mem)) {
		return false
	}
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&b.mem[b.off]))
	ll := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&b.mem[b.off+addressAt]))
	from := uint64(b.off) + uint64(h.Mac)
	to := from + uint64(h.Snaplen)
	if to > uint64(len(b.mem)) {
		return false
	}
	b.left--
	p.Data = b.mem[from:to:to]
	p.Length = max(int(h.Len), len(p.Data))
	p.Time = int64(h.Sec)*1e9 + int64(h.Nsec)
	p.Tagged = h.Status&unix.TP_STATUS_VLAN_VALID != 0
	p.Tag, p.TagType = uint16(h.Hv1.Vlan_tci), unix.ETH_P_8021Q
	if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		p.TagType = h.Hv1.Vlan_tpid
	}
	p.Outgoing = ll.Pkttype == unix.PACKET_OUTGOING
	p.loopback = ll.Hatype == unix.ARPHRD_LOOPBACK
	p.Index = int(ll.Ifindex)
	if h.Next_offset == 0 {
		b.left = 0
	}
	b.off += h.Next_offset
	return true
}
