// SPDX-License-Identifier: Apache-2.0

//go:build linux

package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Any is the name that stands for all interfaces.
const Any = "any"

// Link says what packets of a socket begin with.
type Link uint8

// The links.
const (
	Ethernet Link = iota
	RawIP         // an IP header
)

// Options say what a socket captures, and how.
type Options struct {
	Interface   string // by name; Any: all
	Snaplen     int    // bytes taken of each packet, at most; 0: DefaultSnaplen
	RingSize    int    // bytes of memory shared with the kernel; 0: DefaultRingSize
	Promiscuous bool   // also packets for other machines
	// Filter compiles the capture filter for a link; nil: everything is captured. A Snaplen below the
	// program's return values is respected as well.
	Filter func(Link, uint32) ([]bpf.RawInstruction, error)
	// Attach attaches a filter to a socket; nil: as a classic filter.
	Attach func(fd int, filter []bpf.RawInstruction) error
}

// The defaults of Options.
const (
	DefaultSnaplen  = 256 << 10
	DefaultRingSize = 64 << 20
)

const (
	blockSize = 512 << 10 // holds DefaultSnaplen, and so the largest segment that is merged by default
	minBlocks = 8
	maxBlocks = 1 << 14
	// retire is after how many milliseconds the kernel hands over a block that is not full. Where
	// there is little traffic, the ring lasts for this times the number of blocks.
	retire = 10
)

// Socket is a packet socket with its ring. Block and Release are for one goroutine.
type Socket struct {
	name string
	fd   int
	link Link
	ring []byte
	next int  // the block that is filled next
	down bool // the interface was down at some time

	mu    sync.Mutex
	stats Stats
}

// Stats are a socket's counters since it was opened.
type Stats struct {
	Received uint64 // accepted by the filter, dropped ones included
	Dropped  uint64 // for which there was no room in the ring
	Frozen   uint64 // how often the ring was full
}

// Open opens a socket that captures from the moment Open returns, and nothing but what the filter
// accepts: until it is in place, nothing is accepted at all. What is wrong is a *net.OpError.
func Open(o Options) (*Socket, error) {
	sockets, err := OpenFanout(o, 1)
	if err != nil {
		return nil, err
	}
	return sockets[0], nil
}

// OpenFanout opens n sockets on one interface, over which flows are spread: both directions of one go
// to the same.
func OpenFanout(o Options, n int) (sockets []*Socket, err error) {
	defer func() {
		if err != nil {
			err = &net.OpError{Op: "capture", Net: "packet", Addr: ifaceAddr(o.Interface), Err: err}
			for _, s := range sockets {
				s.Close()
			}
			sockets = nil
		}
	}()
	index, hardware, err := lookUp(o.Interface)
	if err != nil {
		return nil, err
	}
	group := -1
	for range n {
		s, err := open(&o, index, hardware)
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, s)
		if n > 1 {
			if group, err = s.joinFanout(group); err != nil {
				return sockets, err
			}
		}
	}
	for _, s := range sockets {
		if err := s.filter(&o); err != nil {
			return sockets, err
		}
	}
	return sockets, nil
}

// ifaceAddr is an interface's name as a net.Addr.
type ifaceAddr string

func (ifaceAddr) Network() string  { return "packet" }
func (a ifaceAddr) String() string { return string(a) }

// lookUp returns the index and the hardware type of an interface.
func lookUp(name string) (index int, hardware uint16, err error) {
	if name == Any {
		return 0, unix.ARPHRD_VOID, nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, 0, fmt.Errorf("%q is no name of an interface", name)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		if errors.Is(err, unix.ENODEV) {
			return 0, 0, errors.New("there is no such interface")
		}
		return 0, 0, os.NewSyscallError("ioctl", err)
	}
	index = int(ifr.Uint32())
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return 0, 0, os.NewSyscallError("ioctl", err)
	}
	return index, ifr.Uint16(), nil
}

// kind returns what packets of a hardware type are captured as. All that is not Ethernet is captured
// from its network header on, whatever stands before that.
func kind(hardware uint16) (Link, int) {
	if hardware == unix.ARPHRD_ETHER || hardware == unix.ARPHRD_LOOPBACK {
		return Ethernet, unix.SOCK_RAW
	}
	return RawIP, unix.SOCK_DGRAM
}

func open(o *Options, index int, hardware uint16) (s *Socket, err error) {
	link, typ := kind(hardware)
	// Protocol 0: nothing is received before bind.
	fd, err := unix.Socket(unix.AF_PACKET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("%w: capturing needs root, or the capability CAP_NET_RAW", err)
		}
		return nil, os.NewSyscallError("socket", err)
	}
	s = &Socket{name: o.Interface, fd: fd, link: link}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.makeRing(o); err != nil {
		return s, err
	}
	if err := attach(fd, []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}}); err != nil {
		return s, err
	}
	if hardware == unix.ARPHRD_LOOPBACK {
		// What goes out comes in again.
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return s, os.NewSyscallError("setsockopt PACKET_IGNORE_OUTGOING", err)
		}
	}
	if o.Promiscuous && index > 0 {
		mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
			return s, os.NewSyscallError("setsockopt PACKET_ADD_MEMBERSHIP", err)
		}
	}
	addr := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index}
	return s, os.NewSyscallError("bind", unix.Bind(fd, addr))
}

// bigEndian returns v with its bytes in network order.
func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// makeRing makes the ring, of whole blocks.
func (s *Socket) makeRing(o *Options) error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return os.NewSyscallError("setsockopt PACKET_VERSION", err)
	}
	size := o.RingSize
	if size <= 0 {
		size = DefaultRingSize
	}
	blocks := min(max(size/blockSize, minBlocks), maxBlocks)
	req := unix.TpacketReq3{
		Block_size: blockSize, Block_nr: uint32(blocks), Frame_size: 2048,
		Frame_nr: uint32(blocks * blockSize / 2048), Retire_blk_tov: retire,
	}
	if err := unix.SetsockoptTpacketReq3(s.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return os.NewSyscallError("setsockopt PACKET_RX_RING", err)
	}
	ring, err := unix.Mmap(s.fd, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	s.ring = ring
	return nil
}

// joinFanout makes the socket one of a group, or the first of a new one, and returns the group.
func (s *Socket) joinFanout(group int) (int, error) {
	// Fragments are put together before their flow is looked at.
	const mode = unix.PACKET_FANOUT_HASH | unix.PACKET_FANOUT_FLAG_DEFRAG
	if group >= 0 {
		err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, group|mode<<16)
		return group, os.NewSyscallError("setsockopt PACKET_FANOUT", err)
	}
	const first = mode | unix.PACKET_FANOUT_FLAG_UNIQUEID
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, first<<16); err != nil {
		return 0, os.NewSyscallError("setsockopt PACKET_FANOUT", err)
	}
	v, err := unix.GetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	return v & 0xffff, os.NewSyscallError("getsockopt PACKET_FANOUT", err)
}

// filter puts the real filter in the place of the one that accepts nothing.
func (s *Socket) filter(o *Options) error {
	snaplen := o.Snaplen
	if snaplen <= 0 {
		snaplen = DefaultSnaplen
	}
	program := []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: uint32(snaplen)}}
	if o.Filter != nil {
		var err error
		if program, err = o.Filter(s.link, uint32(snaplen)); err != nil {
			return err
		}
	}
	if o.Attach != nil {
		return o.Attach(s.fd, program)
	}
	return attach(s.fd, program)
}

func attach(fd int, program []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(program))
	for i, ins := range program {
		filter[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog)
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
}

// Link returns what packets begin with.
func (s *Socket) Link() Link { return s.link }

// Interface returns the interface's name.
func (s *Socket) Interface() string { return s.name }

// Stats returns the counters. It may be called from any goroutine.
func (s *Socket) Stats() (Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return s.stats, nil
	}
	// The kernel counts from the last time it was asked.
	v, err := unix.GetsockoptTpacketStatsV3(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return s.stats, os.NewSyscallError("getsockopt PACKET_STATISTICS", err)
	}
	s.stats.Received += uint64(v.Packets)
	s.stats.Dropped += uint64(v.Drops)
	s.stats.Frozen += uint64(v.Freeze_q_cnt)
	return s.stats, nil
}

// Close ends the capture. Blocks must not be used any more.
func (s *Socket) Close() error {
	s.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	var err error
	if s.ring != nil {
		err = os.NewSyscallError("munmap", unix.Munmap(s.ring))
	}
	err = errors.Join(err, os.NewSyscallError("close", unix.Close(s.fd)))
	s.fd, s.ring = -1, nil
	return err
}
