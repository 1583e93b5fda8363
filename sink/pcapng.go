// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// PcapngOptions say how packets are made. The zero value is good.
type PcapngOptions struct {
	// MTU bounds the packets made, in bytes of IP; zero is 1500.
	MTU int
	// Interfaces are the names that flows may bear, as far as known; others are added as they come.
	Interfaces []string
}

// Pcapng writes the plaintext as TCP packets in pcapng, for tools that read traffic. Its packets
// stand in the file in the order of their time if the Output's Order is OrderLive: a live flow's
// events arrive within milliseconds of their time, and what comes within two flush intervals is
// sorted. What comes later than that (a full buffer forces records out early) gets the time of the
// packet before it, so that time never goes back.
//
// (gopacket's NgWriter is not used: it owns one buffer and one writer, and would be a lock for all
// flows; a block is 32 bytes around the packet.)
type Pcapng struct {
	base
	packetiser
	blocks *blocks
}

// NewPcapng returns a pcapng writer on out.
func NewPcapng(out *Output, opt PcapngOptions) *Pcapng {
	p := &Pcapng{blocks: newBlocks(out.opt.Order == OrderLive, opt.Interfaces)}
	p.base = base{name: "pcapng", q: out.start(p.blocks)}
	p.packetiser = packetiser{mtu: mtuOf(opt.MTU), out: &blockOut{q: p.q, b: p.blocks}}
	return p
}

// mtuOf keeps an MTU within what IPv6 demands (RFC 8200, Section 5) and a length field holds.
func mtuOf(n int) int {
	if n <= 0 {
		n = defaultMTU
	}
	return min(max(n, 1280), 65535)
}

// Event writes packets.
func (p *Pcapng) Event(e *session.Event) { p.event(e) }

// Block types and option codes of pcapng.
const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 6

	optEnd         = 0
	optComment     = 1
	optHardware    = 2 // of a section
	optApplication = 4 // of a section
	optName        = 2 // of an interface
	optDescription = 3 // of an interface
	optResolution  = 9 // of an interface

	linkEthernet  = 1
	maxInterfaces = 256
)

// blocks is the shape of a pcapng file, and the list of all interfaces. In a file they are numbered
// in the order of their first packet, so that it does not depend on which flow came first here.
type blocks struct {
	ordered bool
	known   int // interfaces that every file describes

	mu    sync.Mutex // taken once a flow, and for each new interface of a file
	names []string

	// The queue's goroutine's own.
	numbers map[uint32]uint32 // an interface's number in the file
	last    int64
}

func newBlocks(ordered bool, names []string) *blocks {
	if len(names) == 0 {
		names = []string{"sightglass"}
	}
	names = slices.Clone(names[:min(len(names), maxInterfaces)])
	return &blocks{ordered: ordered, known: len(names), names: names}
}

// index returns the number of the interface of that name.
func (b *blocks) index(name string) uint32 {
	if name == "" {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.names, name); i >= 0 {
		return uint32(i)
	}
	if len(b.names) >= maxInterfaces {
		return 0
	}
	b.names = append(b.names, name)
	return uint32(len(b.names) - 1)
}

func (b *blocks) head(dst []byte) []byte {
	b.last, b.numbers = 0, map[uint32]uint32{}
	for n := range uint32(b.known) {
		b.numbers[n] = n
	}
	return append(appendSection(dst), b.describe(0, b.known)...)
}

// describe returns the descriptions of interfaces from to n.
func (b *blocks) describe(from, n int) (dst []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range b.names[from:n] {
		dst = appendInterface(dst, name)
	}
	return dst
}

func (b *blocks) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.names)
}

// before makes a packet block, whose tag is the interface, one of this file.
func (b *blocks) before(dst []byte, r record, _ bool) []byte {
	n, ok := b.numbers[r.tag]
	if !ok {
		dst = append(dst, b.describe(int(r.tag), int(r.tag)+1)...)
		n = uint32(len(b.numbers))
		b.numbers[r.tag] = n
	}
	if n != r.tag { // what need not be written need not be fetched
		binary.LittleEndian.PutUint32(r.data[8:], n)
	}
	if b.ordered {
		if r.time < b.last {
			putTime(r.data, b.last)
		}
		b.last = max(b.last, r.time)
	}
	return dst
}

func (b *blocks) tail(dst []byte) []byte { return dst }

func appendSection(dst []byte) []byte {
	at := len(dst)
	dst = appendBlockHead(dst, blockSection)
	dst = binary.LittleEndian.AppendUint32(dst, 0x1A2B3C4D)
	dst = append(dst, 1, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, 1<<64-1) // the section's length is not said
	dst = appendOption(dst, optHardware, "sightglass")
	dst = appendOption(dst, optApplication, "sightglass")
	return endBlock(appendOption(dst, optEnd, ""), at)
}

func appendInterface(dst []byte, name string) []byte {
	at := len(dst)
	dst = appendBlockHead(dst, blockInterface)
	dst = binary.LittleEndian.AppendUint32(dst, linkEthernet)
	dst = binary.LittleEndian.AppendUint32(dst, 0) // packets are never cut
	dst = appendOption(dst, optName, name)
	dst = appendOption(dst, optDescription, "plaintext of TLS")
	dst = appendOption(dst, optResolution, "\x09")
	return endBlock(appendOption(dst, optEnd, ""), at)
}

func appendBlockHead(dst []byte, typ uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, typ)
	return append(dst, 0, 0, 0, 0)
}

func appendOption(dst []byte, code uint16, value string) []byte {
	value = value[:min(len(value), 1<<15)]
	dst = binary.LittleEndian.AppendUint16(dst, code)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(value)))
	dst = append(dst, value...)
	return append(dst, make([]byte, -len(value)&3)...)
}

// endBlock completes the block that begins at offset at.
func endBlock(dst []byte, at int) []byte {
	n := uint32(len(dst) - at + 4)
	binary.LittleEndian.PutUint32(dst[at+4:], n)
	return binary.LittleEndian.AppendUint32(dst, n)
}

// putTime writes a packet block's time, in nanoseconds.
func putTime(block []byte, t int64) {
	t = max(t, 0)
	binary.LittleEndian.PutUint32(block[12:], uint32(t>>32))
	binary.LittleEndian.PutUint32(block[16:], uint32(t))
}

// blockOut puts packets into a queue as packet blocks.
type blockOut struct {
	q *queue
	b *blocks
}

func (o *blockOut) begin(c *conversation, f *session.Flow) {
	c.iface = o.b.index(f.Interface)
	c.comment = flowComment(f)
}

func (o *blockOut) packet(c *conversation, payload []byte) {
	n := c.n + len(payload)
	end := append(c.end[:0], make([]byte, -n&3)...)
	if c.comment != "" { // on the first packet
		end = appendOption(appendOption(end, optComment, c.comment), optEnd, "")
		c.comment = ""
	}
	total := uint32(blockHead + c.n + len(payload) + len(end) + 4)
	head := c.buf[:blockHead]
	binary.LittleEndian.PutUint32(head, blockPacket)
	binary.LittleEndian.PutUint32(head[4:], total)
	binary.LittleEndian.PutUint32(head[8:], c.iface)
	putTime(head, c.last)
	binary.LittleEndian.PutUint32(head[20:], uint32(n))
	binary.LittleEndian.PutUint32(head[24:], uint32(n))
	end = binary.LittleEndian.AppendUint32(end, total)
	o.q.put(c.last, c.flow, c.iface, c.buf[:blockHead+c.n], payload, end)
}

// flowComment is what the first packet of a flow says of it to people.
func flowComment(f *session.Flow) string {
	var b []byte
	b = append(b, "sightglass: "...)
	if !f.TLS {
		return string(append(b, "not TLS"...))
	}
	b = append(b, f.Version.String()+" "+handshake.SuiteName(f.Suite)...)
	if f.ServerName != "" {
		b = appendSafe(append(b, ", server name "...), f.ServerName)
	}
	if len(f.ClientChain) > 0 {
		b = appendSafe(append(b, ", client "...), parseCertificate(f.ClientChain[0]).subject)
	}
	b = append(b, ", connected "+f.Start.UTC().Format(time.RFC3339Nano)...)
	return string(b)
}
