// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// secretsPerBlock is how many bytes of key log are gathered for one Decryption Secrets Block.
const secretsPerBlock = 64 << 10

// Injector writes a copy of capture files that shows its secrets to who reads it: the original
// blocks, bit for bit, and before the first packet Decryption Secrets Blocks. Packets of pcap files
// become Enhanced Packet Blocks with the same bytes, lengths, times and link type; several files
// become sections of one. Only a section length that the first section header states is taken
// back, since the section grows.
//
// An Injector writes secrets as it is given them, and what follows them when it is finished: it
// holds no more than one block in memory.
type Injector struct {
	w     *bufio.Writer
	files []File
	head  int64 // bytes of the first file that were written
	order binary.ByteOrder
	lines []byte
}

// NewInjector begins the copy of files, which are opened again for the rest: each has Again set.
func NewInjector(w io.Writer, files []File) (*Injector, error) {
	j := &Injector{w: bufio.NewWriterSize(w, 64<<10), files: files, order: binary.LittleEndian}
	for _, f := range files {
		if !f.Again {
			return nil, fmt.Errorf("%s: can be read only once, and a copy with secrets needs two passes", f.Name())
		}
	}
	if len(files) == 0 {
		return nil, errors.New("no capture file")
	}
	in, src, err := files[0].content(context.Background())
	if err != nil {
		return nil, err
	}
	defer in.Close()
	r, err := NewReader(files[0].Name(), src)
	if err != nil {
		return nil, err
	}
	if r.Format() == FormatPcap {
		j.pcapHead(&r.pcap)
		return j, nil
	}
	return j, j.copyHead(r)
}

// copyHead copies the section header and the interface descriptions that follow it.
func (j *Injector) copyHead(r *Reader) error {
	r.Fill(make([]byte, MinBuffer), true)
	for {
		head, err := r.need(8)
		if err != nil {
			return nil
		}
		first := !r.ng.started
		if !first && r.order.Uint32(head) != blockInterface {
			return nil
		}
		start := r.pos
		if r.nextBlock(nil) != errAgain {
			return nil // what is wrong is said by who reads the packets
		}
		b := r.buf[start:r.pos]
		if first {
			j.order = r.order
			binary.LittleEndian.PutUint64(b[16:], ^uint64(0)) // Section Length: not specified
		}
		j.head += int64(len(b))
		if _, err := j.w.Write(b); err != nil {
			return err
		}
	}
}

// Add takes lines of an NSS key log.
func (j *Injector) Add(lines []byte) error {
	j.lines = append(j.lines, lines...)
	if len(j.lines) < secretsPerBlock {
		return nil
	}
	return j.flushSecrets()
}

func (j *Injector) flushSecrets() error {
	if len(j.lines) == 0 {
		return nil
	}
	b := appendBlock(nil, j.order, blockSecrets, func(b []byte) []byte {
		b = appendUint32(b, j.order, SecretsTLS)
		b = appendUint32(b, j.order, uint32(len(j.lines)))
		return append(b, j.lines...)
	})
	j.lines = j.lines[:0]
	_, err := j.w.Write(b)
	return err
}

// Finish writes the last secrets and the rest of the files. ends says, for each file that was read,
// up to which offset it is whole ([Reader.Offset]); what follows is left out.
func (j *Injector) Finish(ends []int64) error {
	if err := j.flushSecrets(); err != nil {
		return err
	}
	for i, end := range ends[:min(len(ends), len(j.files))] {
		from := int64(0)
		if i == 0 {
			from = j.head
		}
		if err := j.rest(j.files[i], i == 0, from, end); err != nil {
			return err
		}
	}
	return j.w.Flush()
}

// rest copies a file between two offsets.
func (j *Injector) rest(f File, first bool, from, end int64) error {
	in, src, err := f.content(context.Background())
	if err != nil {
		return err
	}
	defer in.Close()
	br := bufio.NewReaderSize(src, 64<<10)
	magic, err := br.Peek(4)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(magic) != blockSection {
		return j.convert(f, br, first)
	}
	if _, err := io.CopyN(io.Discard, br, from); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if _, err := io.CopyN(j.w, br, end-from); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// convert copies the packets of a pcap file.
func (j *Injector) convert(f File, src io.Reader, first bool) error {
	r, err := NewReader(f.Name(), src)
	if err != nil {
		return err
	}
	if !first {
		j.order = binary.LittleEndian
		j.pcapHead(&r.pcap)
	}
	buf := make([]byte, 2*MinBuffer)
	block := make([]byte, 0, 2048)
	var p Packet
	for {
		switch err := r.Next(&p); {
		case err == nil:
			block = appendPacket(block[:0], &p, r.pcap.unit)
			if _, err := j.w.Write(block); err != nil {
				return err
			}
		case err == ErrFill:
			r.Fill(buf, true)
		case err == io.EOF, errors.Is(err, ErrCut), errors.Is(err, ErrCorrupt):
			return nil // as the first pass has said
		default:
			return err
		}
	}
}

// pcapHead writes the section header and the interface that stand for a pcap file's header.
func (j *Injector) pcapHead(h *pcapHeader) {
	b := appendBlock(nil, binary.LittleEndian, blockSection, sectionBody)
	b = appendBlock(b, binary.LittleEndian, blockInterface, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint32(b, uint32(h.link))
		b = binary.LittleEndian.AppendUint32(b, h.snaplen)
		if h.unit == 1 {
			b = append(b, optionTsresol, 0, 1, 0, 9, 0, 0, 0)
		}
		if h.fcs > 0 {
			b = append(b, optionFCSLen, 0, 1, 0, h.fcs, 0, 0, 0)
		}
		return append(b, optionEnd, 0, 0, 0)
	})
	j.w.Write(b) // a bufio.Writer's error lasts
}

const optionFCSLen = 13

// appendPacket appends an Enhanced Packet Block of the only interface.
func appendPacket(b []byte, p *Packet, unit int64) []byte {
	return appendBlock(b, binary.LittleEndian, blockEnhanced, func(b []byte) []byte {
		ticks := uint64(p.Time / unit)
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(ticks>>32))
		b = binary.LittleEndian.AppendUint32(b, uint32(ticks))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
		b = binary.LittleEndian.AppendUint32(b, uint32(p.Length))
		return append(b, p.Data...)
	})
}

// appendBlock appends a block with what body appends, padded to 32 bits, between its lengths.
func appendBlock(dst []byte, order binary.ByteOrder, typ uint32, body func([]byte) []byte) []byte {
	start := len(dst)
	dst = appendUint32(dst, order, typ)
	dst = appendUint32(dst, order, 0)
	dst = body(dst)
	for (len(dst)-start)%4 != 0 {
		dst = append(dst, 0)
	}
	size := uint32(len(dst) - start + 4)
	order.PutUint32(dst[start+4:], size)
	return appendUint32(dst, order, size)
}

func appendUint32(b []byte, order binary.ByteOrder, v uint32) []byte {
	var w [4]byte
	order.PutUint32(w[:], v)
	return append(b, w[:]...)
}
