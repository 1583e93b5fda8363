// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Block types (draft-ietf-opsawg-pcapng).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
	blockSecrets   = 10
)

const (
	byteOrderMagic = 0x1a2b3c4d
	// SecretsTLS is the type of secrets that are lines of an NSS key log.
	SecretsTLS = 0x544c534b
	// maxWhole is the size up to which a block is seen whole before any of it is used.
	maxWhole      = 32 << 10
	maxInterfaces = 1 << 14 // of one section
	maxName       = 256     // bytes kept of an interface's name
)

// Options of an Interface Description Block.
const (
	optionEnd       = 0
	optionName      = 2
	optionTsresol   = 9
	optionTsoffset  = 14
	defaultDecimals = 6
)

// section is the state of the section being read.
type section struct {
	started    bool
	interfaces []iface
	last       int64 // time of the last packet, for those that have none
}

// iface is one interface of a section.
type iface struct {
	link    LinkType
	snaplen uint32
	name    string
	binary  bool  // the resolution is a negative power of 2, not 10
	power   uint8 // that power
	offset  int64 // seconds
}

// nextBlock reads the next block, and the packet in it.
func (r *Reader) nextBlock(p *Packet) error {
	head, err := r.need(12)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(head) == blockSection {
		return r.sectionHeader()
	}
	if !r.ng.started {
		return r.corrupt(r.pos, "no section header")
	}
	typ, size := r.order.Uint32(head), r.order.Uint32(head[4:])
	if size < 12 || size%4 != 0 {
		return r.corrupt(r.pos, "a block of type %d with a length of %d bytes", typ, size)
	}
	switch typ {
	case blockEnhanced, blockPacket, blockSimple:
		return r.packetBlock(p, typ, size)
	case blockInterface:
		return r.interfaceBlock(size)
	case blockSecrets:
		return r.secretsBlock(size)
	}
	return r.skipBlock(size)
}

// whole returns the block at pos, which has to be whole in the buffer, and checks its trailer.
func (r *Reader) whole(size uint32) ([]byte, error) {
	b, err := r.need(int(size))
	if err != nil {
		return nil, err
	}
	if r.order.Uint32(b[size-4:]) != size {
		return nil, r.corrupt(r.pos, "a block of %d bytes whose end does not repeat its length", size)
	}
	return b, nil
}

// skipBlock passes over a block of no interest, whatever its size.
func (r *Reader) skipBlock(size uint32) error {
	if size > maxWhole {
		r.advance(int64(size))
		return errAgain
	}
	b, err := r.whole(size)
	if err != nil {
		return err
	}
	r.pos += len(b)
	return errAgain
}

// sectionHeader begins a section, with its own byte order and interfaces.
func (r *Reader) sectionHeader() error {
	head, err := r.need(28)
	if err != nil {
		return err
	}
	switch uint32(byteOrderMagic) {
	case binary.LittleEndian.Uint32(head[8:]):
		r.order, r.big = binary.LittleEndian, false
	case binary.BigEndian.Uint32(head[8:]):
		r.order, r.big = binary.BigEndian, true
	default:
		if !r.ng.started {
			return r.failed(r.pos, ErrNotCapture, "")
		}
		return r.corrupt(r.pos, "a section header without a byte order")
	}
	size := r.order.Uint32(head[4:])
	if size < 28 || size%4 != 0 || size > MaxPacket {
		return r.corrupt(r.pos, "a section header of %d bytes", size)
	}
	if major := r.order.Uint16(head[12:]); major != 1 {
		return r.failed(r.pos, ErrUnsupported, fmt.Sprintf("pcapng version %d.%d", major, r.order.Uint16(head[14:])))
	}
	b, err := r.whole(size)
	if err != nil {
		return err
	}
	r.ng = section{started: true, interfaces: r.ng.interfaces[:0], last: r.ng.last}
	r.pos += len(b)
	return errAgain
}

// interfaceBlock adds an interface to the section.
func (r *Reader) interfaceBlock(size uint32) error {
	if size < 20 || size > MaxPacket {
		return r.corrupt(r.pos, "an interface description of %d bytes", size)
	}
	b, err := r.whole(size)
	if err != nil {
		return err
	}
	if len(r.ng.interfaces) >= maxInterfaces {
		return r.corrupt(r.pos, "more than %d interfaces", maxInterfaces)
	}
	i := iface{link: LinkType(r.order.Uint16(b[8:])), snaplen: r.order.Uint32(b[12:]), power: defaultDecimals}
	i.options(r.order, b[16:size-4])
	r.ng.interfaces = append(r.ng.interfaces, i)
	r.pos += len(b)
	return errAgain
}

// options takes what matters of an interface's options, up to the first that is malformed.
func (i *iface) options(order binary.ByteOrder, b []byte) {
	for len(b) >= 4 {
		code, n := order.Uint16(b), int(order.Uint16(b[2:]))
		b = b[4:]
		if code == optionEnd || n > len(b) {
			return
		}
		v := b[:n]
		switch {
		case code == optionName:
			i.name = string(v[:min(n, maxName)])
		case code == optionTsresol && n == 1:
			i.binary, i.power = v[0]&0x80 != 0, v[0]&0x7f
		case code == optionTsoffset && n == 8:
			i.offset = int64(order.Uint64(v))
		}
		b = b[min(len(b), (n+3)&^3):]
	}
}

// packetBlock reads a packet out of an Enhanced, Simple or (obsolete) Packet Block.
func (r *Reader) packetBlock(p *Packet, typ, size uint32) error {
	fixed := 28
	if typ == blockSimple {
		fixed = 12
	}
	if int(size) < fixed+4 {
		return r.corrupt(r.pos, "a packet block of %d bytes", size)
	}
	b, err := r.need(fixed)
	if err != nil {
		return err
	}
	number, captured, length := r.packetFields(b, typ)
	if int(number) >= len(r.ng.interfaces) {
		return r.corrupt(r.pos, "a packet of interface %d, of which there is no description", number)
	}
	i := &r.ng.interfaces[number]
	if typ == blockSimple {
		captured = min(length, size-16)
		if i.snaplen > 0 {
			captured = min(captured, i.snaplen)
		}
	}
	if captured > MaxPacket || int64(captured) > int64(size)-int64(fixed)-4 || length > 1<<31-1 {
		return r.corrupt(r.pos, "a packet of %d bytes, of which %d were captured, in a block of %d", length, captured, size)
	}
	if b, err = r.packetBytes(size, fixed+int(captured)); err != nil {
		return err
	}
	if typ != blockSimple {
		r.ng.last = i.time(uint64(r.order.Uint32(b[12:]))<<32 | uint64(r.order.Uint32(b[16:])))
	}
	end := fixed + int(captured)
	p.Data = b[fixed:end:end]
	p.Length = max(int(length), int(captured))
	p.Time, p.Link, p.Interface = r.ng.last, i.link, i.name
	return nil
}

// packetFields reads the fixed part of a packet block.
func (r *Reader) packetFields(b []byte, typ uint32) (number, captured, length uint32) {
	switch typ {
	case blockSimple:
		return 0, 0, r.order.Uint32(b[8:])
	case blockPacket:
		number = uint32(r.order.Uint16(b[8:]))
	default:
		number = r.order.Uint32(b[8:])
	}
	return number, r.order.Uint32(b[20:]), r.order.Uint32(b[24:])
}

// packetBytes returns at least the first n bytes of a packet block and uses all of it. Of a block
// with very many options only the beginning has to be in the buffer.
func (r *Reader) packetBytes(size uint32, n int) ([]byte, error) {
	if int64(size) > int64(n)+maxWhole {
		b, err := r.need(n)
		if err == nil {
			r.advance(int64(size))
		}
		return b, err
	}
	b, err := r.whole(size)
	if err == nil {
		r.pos += len(b)
	}
	return b, err
}

// time returns a timestamp in nanoseconds since 1970, as near as that comes to it.
func (i *iface) time(ticks uint64) int64 {
	var ns uint64
	switch {
	case i.binary:
		ns = scale(ticks, i.power)
	case i.power <= 9:
		hi, lo := bits.Mul64(ticks, pow10[9-i.power])
		ns = lo
		if hi != 0 {
			ns = math.MaxInt64
		}
	case i.power-9 < uint8(len(pow10)):
		ns = ticks / pow10[i.power-9]
	}
	return addSeconds(int64(min(ns, math.MaxInt64)), i.offset)
}

// scale returns ticks of 2^-power seconds in nanoseconds.
func scale(ticks uint64, power uint8) uint64 {
	hi, lo := bits.Mul64(ticks, 1e9)
	switch {
	case power >= 128:
		return 0
	case power >= 64:
		return hi >> (power - 64)
	case hi>>power != 0:
		return math.MaxInt64
	}
	return lo>>power | hi<<(64-power)
}

func addSeconds(ns, s int64) int64 {
	const most = math.MaxInt64 / 1_000_000_000
	if s > most || s < -most {
		return ns
	}
	s *= 1e9
	if s > 0 && ns > math.MaxInt64-s {
		return math.MaxInt64
	}
	return ns + s
}

var pow10 = func() (p [20]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()
