// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"encoding/binary"
	"fmt"
)

// The magic numbers of pcap files.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // Kuznetsov's: record headers of 24 bytes
)

const pcapFileHeader = 24

// pcapHeader is what the header of a pcap file says.
type pcapHeader struct {
	started bool
	record  int   // size of a record's header
	unit    int64 // nanoseconds of the fraction's unit
	link    LinkType
	fcs     uint8 // length of the frame check sequence, in bytes; 0: not said
	snaplen uint32
	minor   uint16
}

// detectPcap looks for the magic number of a pcap file, in either byte order.
func (r *Reader) detectPcap() (bool, error) {
	h := pcapHeader{record: 16, unit: 1000}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(r.first[:]) {
		case magicMicro:
		case magicNano:
			h.unit = 1
		case magicModified:
			h.record = 24
		default:
			continue
		}
		r.order, r.big = order, order == binary.BigEndian
		r.format, r.next = FormatPcap, (*Reader).nextRecord
		if r.firstN < pcapFileHeader {
			return true, r.failed(0, ErrCut, "the file's header is not whole")
		}
		return true, r.pcapFile(h)
	}
	return false, nil
}

func (r *Reader) pcapFile(h pcapHeader) error {
	major := r.order.Uint16(r.first[4:])
	h.minor = r.order.Uint16(r.first[6:])
	if major != 2 {
		return r.failed(0, ErrUnsupported, fmt.Sprintf("pcap version %d.%d", major, h.minor))
	}
	h.snaplen = r.order.Uint32(r.first[16:])
	network := r.order.Uint32(r.first[20:])
	h.link = LinkType(network)
	if network&(1<<26) != 0 {
		h.fcs = uint8(network>>28) * 2 // in units of 16 bits
	}
	r.pcap = h
	return nil
}

// nextRecord reads the next packet of a pcap file.
func (r *Reader) nextRecord(p *Packet) error {
	h := &r.pcap
	if !h.started {
		if _, err := r.need(pcapFileHeader); err != nil {
			return err
		}
		r.pos += pcapFileHeader
		h.started = true
	}
	b := r.buf[r.pos:]
	if len(b) < h.record {
		return errMore
	}
	var sec, frac, captured, length uint32
	if r.big {
		sec, frac = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
		captured, length = binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	} else {
		sec, frac = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		captured, length = binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	}
	// Until version 2.3 some programs wrote the two lengths the other way round.
	if h.minor < 3 || h.minor == 3 && captured > length {
		captured, length = length, captured
	}
	if captured > MaxPacket || length > 1<<31-1 {
		return r.corrupt(r.pos, "a packet of %d bytes, of which %d were captured", length, captured)
	}
	end := h.record + int(captured)
	if len(b) < end {
		return errMore
	}
	p.Data = b[h.record:end:end]
	p.Length = max(int(length), int(captured))
	p.Time = int64(sec)*1e9 + int64(frac)*h.unit
	p.Link = h.link
	p.Interface = ""
	r.pos += end
	return nil
}
