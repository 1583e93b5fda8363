// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// builder builds capture files of any kind.
type builder struct {
	bytes.Buffer
	order binary.ByteOrder
}

func little() *builder { return &builder{order: binary.LittleEndian} }
func big() *builder    { return &builder{order: binary.BigEndian} }

func (b *builder) u16(v uint16) *builder { return b.put(2, uint64(v)) }
func (b *builder) u32(v uint32) *builder { return b.put(4, uint64(v)) }
func (b *builder) u64(v uint64) *builder { return b.put(8, v) }

func (b *builder) put(n int, v uint64) *builder {
	var w [8]byte
	switch n {
	case 2:
		b.order.PutUint16(w[:], uint16(v))
	case 4:
		b.order.PutUint32(w[:], uint32(v))
	default:
		b.order.PutUint64(w[:], v)
	}
	b.Write(w[:n])
	return b
}

// pcap begins a pcap file.
func (b *builder) pcap(magic uint32, minor uint16, link uint32) *builder {
	return b.u32(magic).u16(2).u16(minor).u32(0).u32(0).u32(65535).u32(link)
}

func (b *builder) record(sec, frac uint32, data string, length int) *builder {
	b.u32(sec).u32(frac).u32(uint32(len(data))).u32(uint32(length))
	b.WriteString(data)
	return b
}

func (b *builder) block(typ uint32, body func(in *builder)) *builder {
	in := &builder{order: b.order}
	body(in)
	for in.Len()%4 != 0 {
		in.WriteByte(0)
	}
	b.u32(typ).u32(uint32(12 + in.Len()))
	b.Write(in.Bytes())
	return b.u32(uint32(12 + in.Len()))
}

func (b *builder) section() *builder {
	return b.block(blockSection, func(in *builder) { in.u32(byteOrderMagic).u16(1).u16(0).u64(^uint64(0)) })
}

type option struct {
	code  uint16
	value string
}

func (b *builder) iface(link uint16, snaplen uint32, options ...option) *builder {
	return b.block(blockInterface, func(in *builder) {
		in.u16(link).u16(0).u32(snaplen)
		in.options(options)
	})
}

func (b *builder) options(options []option) {
	for _, o := range options {
		b.u16(o.code).u16(uint16(len(o.value)))
		b.WriteString(o.value)
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	if len(options) > 0 {
		b.u32(0)
	}
}

func (b *builder) enhanced(iface uint32, ticks uint64, data string, length int, options ...option) *builder {
	return b.block(blockEnhanced, func(in *builder) {
		in.u32(iface).u32(uint32(ticks >> 32)).u32(uint32(ticks)).u32(uint32(len(data))).u32(uint32(length))
		in.WriteString(data)
		for in.Len()%4 != 0 {
			in.WriteByte(0)
		}
		in.options(options)
	})
}

func (b *builder) secrets(kind uint32, s string) *builder {
	return b.block(blockSecrets, func(in *builder) {
		in.u32(kind).u32(uint32(len(s)))
		in.WriteString(s)
	})
}

// read reads all packets of a file, with buffers that are filled again and again.
func read(t testing.TB, src io.Reader, whole bool) (packets []Packet, end int64, err error) {
	t.Helper()
	r, err := NewReader("test", src)
	if err != nil {
		return nil, 0, err
	}
	packets, err = readAll(r, whole)
	return packets, r.Offset(), err
}

func readAll(r *Reader, whole bool) (packets []Packet, err error) {
	bufs := [2][]byte{make([]byte, MinBuffer), make([]byte, MinBuffer+1000)}
	for i := 0; ; {
		var p Packet
		switch err := r.Next(&p); err {
		case nil:
			p.Data = bytes.Clone(p.Data)
			packets = append(packets, p)
		case ErrFill:
			r.Fill(bufs[i%2], whole)
			i++
		case io.EOF:
			return packets, nil
		default:
			return packets, err
		}
	}
}

func wantKind(t *testing.T, err, kind error, offset int64) {
	t.Helper()
	var e *Error
	if !errors.Is(err, kind) || !errors.As(err, &e) || offset >= 0 && e.Offset != offset {
		t.Errorf("error %v, want %q at offset %d", err, kind, offset)
	}
}

// file writes a file to read.
func file(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
