// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sort"
)

// StreamKey names one direction of one TCP connection.
type StreamKey struct {
	From, To netip.AddrPort
}

// Reverse names the other direction.
func (k StreamKey) Reverse() StreamKey { return StreamKey{From: k.To, To: k.From} }

func (k StreamKey) String() string { return fmt.Sprintf("%v > %v", k.From, k.To) }

// A Stream is what crossed the wire in one direction of one TCP connection.
type Stream struct {
	Payload  []byte // in order of sequence, every byte once
	Segments int    // with payload
	SYN      bool
	FIN, RST bool
	isn      uint32
	pieces   []piece
}

type piece struct {
	offset int
	data   []byte
}

// Streams puts the TCP payloads of a capture together, by direction. It fails where bytes are
// missing, and where a segment that came again says something else than it did before.
func Streams(frames []Frame) (map[StreamKey]*Stream, error) {
	streams := make(map[StreamKey]*Stream)
	for _, f := range frames {
		seg, ok := parseSegment(f.Data)
		if !ok {
			continue
		}
		s := streams[seg.key]
		if s == nil {
			s = &Stream{}
			streams[seg.key] = s
		}
		s.add(seg)
	}
	for key, s := range streams {
		if err := s.assemble(); err != nil {
			return nil, fmt.Errorf("%v: %w", key, err)
		}
	}
	return streams, nil
}

func (s *Stream) add(seg segment) {
	seq := seg.seq
	if seg.syn {
		s.SYN = true
		s.isn = seq + 1
		seq++
	}
	s.FIN = s.FIN || seg.fin
	s.RST = s.RST || seg.rst
	if len(seg.payload) > 0 {
		s.Segments++
		s.pieces = append(s.pieces, piece{offset: int(int32(seq - s.isn)), data: seg.payload})
	}
}

func (s *Stream) assemble() error {
	if len(s.pieces) > 0 && !s.SYN {
		return fmt.Errorf("payload, but its SYN was not captured")
	}
	sort.SliceStable(s.pieces, func(i, j int) bool { return s.pieces[i].offset < s.pieces[j].offset })
	for _, p := range s.pieces {
		if p.offset < 0 {
			continue // a keep-alive probe
		}
		have := len(s.Payload) - p.offset
		if have < 0 {
			return fmt.Errorf("%d bytes are missing at offset %d", -have, len(s.Payload))
		}
		again := min(have, len(p.data))
		if !bytes.Equal(s.Payload[p.offset:p.offset+again], p.data[:again]) {
			return fmt.Errorf("a retransmission at offset %d differs from what was sent before", p.offset)
		}
		s.Payload = append(s.Payload, p.data[again:]...)
	}
	s.pieces = nil
	return nil
}

type segment struct {
	key           StreamKey
	seq           uint32
	syn, fin, rst bool
	payload       []byte
}

// parseSegment finds the TCP segment in an Ethernet frame: IPv4, or IPv6 without extension headers,
// which is all that hosts send which were made here.
func parseSegment(frame []byte) (segment, bool) {
	if len(frame) < 14 {
		return segment{}, false
	}
	packet := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		if len(packet) < 20 || packet[9] != 6 {
			return segment{}, false
		}
		header, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
		if total == 0 || total > len(packet) { // 0: merged beyond what the field can say
			total = len(packet)
		}
		if header < 20 || header > total {
			return segment{}, false
		}
		from, _ := netip.AddrFromSlice(packet[12:16])
		to, _ := netip.AddrFromSlice(packet[16:20])
		return parseTCP(from, to, packet[header:total])
	case 0x86dd:
		if len(packet) < 40 || packet[6] != 6 {
			return segment{}, false
		}
		total := 40 + int(binary.BigEndian.Uint16(packet[4:]))
		if total == 40 || total > len(packet) {
			total = len(packet)
		}
		from, _ := netip.AddrFromSlice(packet[8:24])
		to, _ := netip.AddrFromSlice(packet[24:40])
		return parseTCP(from, to, packet[40:total])
	}
	return segment{}, false
}

func parseTCP(from, to netip.Addr, b []byte) (segment, bool) {
	if len(b) < 20 {
		return segment{}, false
	}
	header := int(b[12]>>4) * 4
	if header < 20 || header > len(b) {
		return segment{}, false
	}
	return segment{
		key: StreamKey{
			From: netip.AddrPortFrom(from, binary.BigEndian.Uint16(b)),
			To:   netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:])),
		},
		seq:     binary.BigEndian.Uint32(b[4:]),
		fin:     b[13]&1 != 0,
		syn:     b[13]&2 != 0,
		rst:     b[13]&4 != 0,
		payload: b[header:],
	}, true
}
