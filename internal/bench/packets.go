// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"math/bits"
	"net/netip"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// capture makes a pcap file of TCP connections, Ethernet and IPv4, as a tap would have taken it.
type capture struct {
	w    *bufio.Writer
	now  time.Time
	size int64
	head [headLen]byte
	sums []connSum
	// merged is how many segments are one packet, for the kernel to cut, which adds the checksums; 0: none are.
	merged int
}

const (
	headLen    = 54   // Ethernet, IPv4, TCP
	segmentLen = 1460 // bytes of payload
	fileHead   = 24
	packetHead = 16
	pcapLimit  = 256 << 10
	linkType   = 1 // Ethernet
)

// newCapture begins a file. What goes wrong with w shows when the file ends.
func newCapture(w io.Writer) *capture {
	c := &capture{w: bufio.NewWriterSize(w, 1<<20), now: time.Unix(1_700_000_000, 0)}
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint32(b, 2|4<<16)
	for _, v := range []uint32{0, 0, pcapLimit, linkType} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	_, _ = c.w.Write(b)
	return c
}

// end writes what is not written yet.
func (c *capture) end() error { return c.w.Flush() }

// tcpFlow is one connection in a capture.
type tcpFlow struct {
	c    *capture
	ends [2]netip.AddrPort // by side
	seq  [2]uint32         // next, by side
	due  [2]int            // segments not acknowledged, by sender
	id   uint16
	sum  connSum
}

const (
	flagFIN = 1
	flagSYN = 2
	flagPSH = 8
	flagACK = 16
)

// open begins a connection with its three packets.
func (c *capture) open(client, server netip.AddrPort) *tcpFlow {
	f := &tcpFlow{c: c, ends: [2]netip.AddrPort{client, server}, seq: [2]uint32{1000, 5000}}
	f.sum.Client = client.String()
	f.packet(handshake.Client, flagSYN, nil)
	f.packet(handshake.Server, flagSYN|flagACK, nil)
	f.packet(handshake.Client, flagACK, nil)
	return f
}

// send is what one side says, and the other's acknowledgements: one for two segments, or for as many as are merged.
func (f *tcpFlow) send(side handshake.Side, b []byte) {
	most, delayed := segmentLen, 2
	if f.c.merged > 0 {
		most, delayed = segmentLen*f.c.merged, 1
	}
	for len(b) > 0 {
		n := min(len(b), most)
		f.packet(side, flagACK|flagPSH, b[:n])
		b = b[n:]
		if f.due[side]++; f.due[side] == delayed {
			f.packet(side.Opposite(), flagACK, nil)
		}
	}
}

// close ends the connection in order.
func (f *tcpFlow) close() {
	f.packet(handshake.Client, flagFIN|flagACK, nil)
	f.packet(handshake.Server, flagFIN|flagACK, nil)
	f.packet(handshake.Client, flagACK, nil)
	f.c.sums = append(f.c.sums, f.sum)
}

// packet writes one packet.
func (f *tcpFlow) packet(from handshake.Side, flags byte, payload []byte) {
	c, to := f.c, from.Opposite()
	f.due[to] = 0
	h := &c.head
	c.now = c.now.Add(5 * time.Microsecond)
	f.id++
	copy(h[:], []byte{2, 0, 0, 0, 0, byte(to), 2, 0, 0, 0, 0, byte(from), 8, 0, 0x45, 0})
	ip, tcp := h[14:34], h[34:]
	binary.BigEndian.PutUint16(ip[2:], uint16(40+len(payload)))
	binary.BigEndian.PutUint16(ip[4:], f.id)
	copy(ip[6:], []byte{0x40, 0, 64, 6, 0, 0})
	src, dst := f.ends[from].Addr().As4(), f.ends[to].Addr().As4()
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum16(0, ip)))
	binary.BigEndian.PutUint16(tcp, f.ends[from].Port())
	binary.BigEndian.PutUint16(tcp[2:], f.ends[to].Port())
	binary.BigEndian.PutUint32(tcp[4:], f.seq[from])
	binary.BigEndian.PutUint32(tcp[8:], f.seq[to])
	copy(tcp[12:], []byte{0x50, flags, 0xff, 0xff, 0, 0, 0, 0})
	if flags&flagACK == 0 {
		binary.BigEndian.PutUint32(tcp[8:], 0)
	}
	sum := sum16(uint64(6+20+len(payload)), ip[12:20])
	if c.merged > 0 {
		f.id += uint16(len(payload) / segmentLen)
		binary.BigEndian.PutUint16(tcp[16:], fold(sum))
	} else {
		binary.BigEndian.PutUint16(tcp[16:], ^fold(sum16(sum16(sum, tcp), payload)))
	}
	f.seq[from] += uint32(len(payload))
	if flags&(flagSYN|flagFIN) != 0 {
		f.seq[from]++
	}
	c.write(payload)
}

func (c *capture) write(payload []byte) {
	var b [packetHead]byte
	n := uint32(len(c.head) + len(payload))
	binary.LittleEndian.PutUint32(b[:], uint32(c.now.Unix()))
	binary.LittleEndian.PutUint32(b[4:], uint32(c.now.Nanosecond()/1000))
	binary.LittleEndian.PutUint32(b[8:], n)
	binary.LittleEndian.PutUint32(b[12:], n)
	_, _ = c.w.Write(b[:])
	_, _ = c.w.Write(c.head[:])
	_, _ = c.w.Write(payload)
	c.size += int64(len(b)) + int64(n)
}

// sum16 adds b to a one's complement sum of 16-bit words (RFC 1071). What is added to must have been of even
// length.
func sum16(sum uint64, b []byte) uint64 {
	for ; len(b) >= 8; b = b[8:] {
		var carry uint64
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), 0)
		sum += carry
	}
	if len(b) > 0 {
		var rest [8]byte
		copy(rest[:], b)
		var carry uint64
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(rest[:]), 0)
		sum += carry
	}
	return sum
}

func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// tlsFlow is a TLS connection in a capture.
type tlsFlow struct {
	*tcpFlow
	conn *forge.Conn
}

// tls opens a connection and makes a handshake.
func (c *capture) tls(client, server netip.AddrPort, o forge.Options) *tlsFlow {
	f := &tlsFlow{c.open(client, server), forge.New(o)}
	f.drain()
	return f
}

// drain writes what the peers said, so that it need not be kept.
func (f *tlsFlow) drain() {
	for _, s := range f.conn.Segments {
		f.tcpFlow.send(s.Side, s.Data)
	}
	f.conn.Segments = f.conn.Segments[:0]
}

// say is application data.
func (f *tlsFlow) say(side handshake.Side, b []byte) {
	f.sum.add(side, b)
	f.conn.Send(side, b)
	f.drain()
}

// bulk is n bytes of application data.
func (f *tlsFlow) bulk(side handshake.Side, n int64) {
	chunk := pattern()[:1<<20]
	for n > 0 {
		b := chunk[:min(n, int64(len(chunk)))]
		f.say(side, b)
		n -= int64(len(b))
	}
}
