// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bufio"
	"encoding/binary"
	"io"
	"net/netip"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// packet is a TCP segment of a made-up connection, before it is put into headers.
type packet struct {
	side     handshake.Side
	src, dst netip.AddrPort
	seq, ack uint32
	flags    byte
	data     []byte
	time     time.Time
}

const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagACK = 16
)

// wire makes packets of what two sides say to each other.
type wire struct {
	addr [2]netip.AddrPort
	next [2]uint32
	now  time.Time
	mss  int
	out  []packet
}

func newWire(client, server string) *wire {
	return &wire{
		addr: [2]netip.AddrPort{netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)},
		next: [2]uint32{1000, 0xfffff000}, // the server's sequence numbers wrap soon
		now:  time.Unix(1_700_000_000, 0).UTC(),
		mss:  1448,
	}
}

func (w *wire) add(side handshake.Side, flags byte, data []byte) {
	p := packet{
		side: side, src: w.addr[side], dst: w.addr[1-side], seq: w.next[side], ack: w.next[1-side],
		flags: flags, data: data, time: w.now,
	}
	if flags&flagACK == 0 {
		p.ack = 0
	}
	w.out = append(w.out, p)
	w.now = w.now.Add(20 * time.Microsecond)
	w.next[side] += uint32(len(data))
	if flags&(flagSYN|flagFIN) != 0 {
		w.next[side]++
	}
}

// open makes the handshake of TCP.
func (w *wire) open() *wire {
	w.add(handshake.Client, flagSYN, nil)
	w.add(handshake.Server, flagSYN|flagACK, nil)
	w.add(handshake.Client, flagACK, nil)
	return w
}

// send makes segments of data, and acknowledges every second one.
func (w *wire) send(side handshake.Side, data []byte) {
	for i := 0; len(data) > 0; i++ {
		n := min(len(data), w.mss)
		w.add(side, flagACK, data[:n])
		data = data[n:]
		if i%2 == 1 || len(data) == 0 {
			w.add(side.Opposite(), flagACK, nil)
		}
	}
}

// close ends both directions in order.
func (w *wire) close() *wire {
	w.add(handshake.Client, flagACK|flagFIN, nil)
	w.add(handshake.Server, flagACK|flagFIN, nil)
	w.add(handshake.Client, flagACK, nil)
	return w
}

// play makes packets of a whole forged connection.
func (w *wire) play(c *forge.Conn) *wire {
	w.open()
	for _, s := range c.Segments {
		w.send(s.Side, s.Data)
	}
	return w.close()
}

// appendIP appends the packet as IPv4 or IPv6, without checksums.
func (p *packet) appendIP(b []byte) []byte {
	n := 20 + len(p.data)
	if p.src.Addr().Is4() {
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+n))
		b = append(b, 0, 0, 0x40, 0, 64, 6, 0, 0)
	} else {
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, 6, 64)
	}
	b = append(b, p.src.Addr().AsSlice()...)
	b = append(b, p.dst.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, p.src.Port())
	b = binary.BigEndian.AppendUint16(b, p.dst.Port())
	b = binary.BigEndian.AppendUint32(b, p.seq)
	b = binary.BigEndian.AppendUint32(b, p.ack)
	b = append(b, 0x50, p.flags, 0xff, 0xff, 0, 0, 0, 0)
	return append(b, p.data...)
}

// pcapWriter writes packets of raw IP to a pcap file.
type pcapWriter struct {
	w   *bufio.Writer
	buf []byte
}

const linkRaw = 101

func newPcapWriter(w io.Writer, link uint32) *pcapWriter {
	p := &pcapWriter{w: bufio.NewWriterSize(w, 1<<20)}
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 262144)
	p.w.Write(binary.LittleEndian.AppendUint32(b, link))
	return p
}

func (p *pcapWriter) write(t time.Time, data []byte) {
	b := binary.LittleEndian.AppendUint32(p.buf[:0], uint32(t.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Nanosecond()/1000))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	p.buf = append(b, data...)
	p.w.Write(p.buf)
}

func (p *pcapWriter) packets(ps []packet) {
	var b []byte
	for i := range ps {
		b = ps[i].appendIP(b[:0])
		p.write(ps[i].time, b)
	}
}
