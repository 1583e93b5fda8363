// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
)

func TestPcap(t *testing.T) {
	modified := func(b *builder) {
		b.pcap(magicModified, 4, 1)
		b.u32(5).u32(7).u32(3).u32(9).u32(1).u32(0) // the last two are Kuznetsov's
		b.WriteString("abc")
	}
	for name, tt := range map[string]struct {
		build func(b *builder)
		want  []Packet
	}{
		"microseconds": {
			func(b *builder) { b.pcap(magicMicro, 4, 1).record(5, 7, "abc", 9).record(6, 999_999, "", 0) },
			[]Packet{{Data: []byte("abc"), Length: 9, Time: 5_000_007_000, Link: 1}, {Data: []byte{}, Time: 6_999_999_000, Link: 1}},
		},
		"nanoseconds": {
			func(b *builder) { b.pcap(magicNano, 4, 276).record(5, 7, "abcd", 4) },
			[]Packet{{Data: []byte("abcd"), Length: 4, Time: 5_000_000_007, Link: 276}},
		},
		"modified": {modified, []Packet{{Data: []byte("abc"), Length: 9, Time: 5_000_007_000, Link: 1}}},
		"lengths swapped, version 2.2": {
			func(b *builder) { b.pcap(magicMicro, 2, 1).u32(1).u32(0).u32(9).u32(3).WriteString("abc") },
			[]Packet{{Data: []byte("abc"), Length: 9, Time: 1e9, Link: 1}},
		},
		"lengths swapped, version 2.3": {
			func(b *builder) { b.pcap(magicMicro, 3, 1).u32(1).u32(0).u32(9).u32(3).WriteString("abc") },
			[]Packet{{Data: []byte("abc"), Length: 9, Time: 1e9, Link: 1}},
		},
		"frame check sequence": {
			func(b *builder) { b.pcap(magicMicro, 4, 1|1<<26|2<<28).record(5, 7, "abc", 3) },
			[]Packet{{Data: []byte("abc"), Length: 3, Time: 5_000_007_000, Link: 1}},
		},
		"longer than it was": {
			func(b *builder) { b.pcap(magicMicro, 4, 1).record(5, 7, "abc", 2) },
			[]Packet{{Data: []byte("abc"), Length: 3, Time: 5_000_007_000, Link: 1}},
		},
		"no packets": {func(b *builder) { b.pcap(magicMicro, 4, 1) }, nil},
	} {
		for _, b := range []*builder{little(), big()} {
			tt.build(b)
			t.Run(name+", "+b.order.String(), func(t *testing.T) { readsAs(t, b.Bytes(), tt.want) })
		}
	}
}

// readsAs checks what is read of a file, however it comes.
func readsAs(t *testing.T, b []byte, want []Packet) {
	t.Helper()
	for name, src := range map[string]io.Reader{
		"whole": bytes.NewReader(b), "by bytes": iotest.OneByteReader(bytes.NewReader(b)),
		"with EOF": iotest.DataErrReader(bytes.NewReader(b)),
	} {
		got, end, err := read(t, src, name == "whole")
		if err != nil || end != int64(len(b)) {
			t.Errorf("%s: ended at %d of %d: %v", name, end, len(b), err)
		}
		samePackets(t, got, want)
	}
}

func samePackets(t *testing.T, got, want []Packet) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d packets, want %d", len(got), len(want))
		return
	}
	for i, p := range got {
		w := want[i]
		if !bytes.Equal(p.Data, w.Data) || p.Length != w.Length || p.Time != w.Time || p.Link != w.Link || p.Interface != w.Interface {
			t.Errorf("packet %d: %+v, want %+v", i, p, w)
		}
	}
}

func TestPcapng(t *testing.T) {
	long := strings.Repeat("0123456789", 9000)
	for name, tt := range map[string]struct {
		build func(b *builder)
		want  []Packet
	}{
		"enhanced": {
			func(b *builder) {
				b.section().iface(1, 0).enhanced(0, 5_000_007, "abcde", 9, option{2, "\x00\x00\x00\x01"})
			},
			[]Packet{{Data: []byte("abcde"), Length: 9, Time: 5_000_007_000, Link: 1}},
		},
		"interfaces": {
			func(b *builder) {
				b.section().iface(1, 0, option{2, "eth0"}, option{9, "\x09"}).iface(113, 0, option{1, "x"}, option{9, "\x8a"}, option{2, "any"})
				b.enhanced(1, 3<<10|512, "b", 1).enhanced(0, 42, "a", 1)
			},
			[]Packet{
				{Data: []byte("b"), Length: 1, Time: 3_500_000_000, Link: 113, Interface: "any"},
				{Data: []byte("a"), Length: 1, Time: 42, Link: 1, Interface: "eth0"},
			},
		},
		"seconds and an offset": {
			func(b *builder) {
				offset := &builder{order: b.order}
				offset.u64(100)
				b.section().iface(1, 0, option{9, "\x00"}, option{14, offset.String()}).enhanced(0, 5, "a", 1)
			},
			[]Packet{{Data: []byte("a"), Length: 1, Time: 105e9, Link: 1}},
		},
		"simple": {
			func(b *builder) {
				b.section().iface(1, 6).enhanced(0, 7, "x", 1)
				b.block(blockSimple, func(in *builder) { in.u32(5).WriteString("abcde") })
				b.block(blockSimple, func(in *builder) { in.u32(9).WriteString("abcdef") })
			},
			[]Packet{
				{Data: []byte("x"), Length: 1, Time: 7000, Link: 1},
				{Data: []byte("abcde"), Length: 5, Time: 7000, Link: 1},
				{Data: []byte("abcdef"), Length: 9, Time: 7000, Link: 1},
			},
		},
		"obsolete": {
			func(b *builder) {
				b.section().iface(1, 0).iface(101, 0)
				b.block(blockPacket, func(in *builder) { in.u16(1).u16(3).u32(0).u32(8).u32(2).u32(4).WriteString("ab") })
			},
			[]Packet{{Data: []byte("ab"), Length: 4, Time: 8000, Link: 101}},
		},
		"sections": {
			func(b *builder) {
				b.section().iface(1, 0).enhanced(0, 1, "a", 1)
				b.section().iface(101, 0, option{9, "\x09"}).enhanced(0, 1, "b", 1)
			},
			[]Packet{{Data: []byte("a"), Length: 1, Time: 1000, Link: 1}, {Data: []byte("b"), Length: 1, Time: 1, Link: 101}},
		},
		"other blocks": {
			func(b *builder) {
				b.section().iface(1, 0)
				b.block(4, func(in *builder) { in.WriteString("names") })
				b.block(0x80000bad, func(in *builder) { in.WriteString(strings.Repeat("x", 600_000)) })
				b.block(5, func(in *builder) { in.WriteString("statistics") })
				b.secrets(SecretsTLS, "nothing")
				b.enhanced(0, 1, "a", 1)
			},
			[]Packet{{Data: []byte("a"), Length: 1, Time: 1000, Link: 1}},
		},
		"many options": {
			func(b *builder) {
				b.section().iface(1, 0).enhanced(0, 1, "a", 1, option{1, long[:60_000]}, option{1, long[:60_000]})
				b.enhanced(0, 2, "b", 1)
			},
			[]Packet{{Data: []byte("a"), Length: 1, Time: 1000, Link: 1}, {Data: []byte("b"), Length: 1, Time: 2000, Link: 1}},
		},
	} {
		for _, b := range []*builder{little(), big()} {
			tt.build(b)
			t.Run(name+", "+b.order.String(), func(t *testing.T) { readsAs(t, b.Bytes(), tt.want) })
		}
	}
	b := little().section().iface(1, 0).enhanced(0, 1, "a", 1)
	b.order = big().order
	b.section().iface(12, 0).enhanced(0, 2, "b", 1)
	t.Run("sections of both orders", func(t *testing.T) {
		readsAs(t, b.Bytes(), []Packet{
			{Data: []byte("a"), Length: 1, Time: 1000, Link: 1}, {Data: []byte("b"), Length: 1, Time: 2000, Link: 12},
		})
	})
}

func TestTimes(t *testing.T) {
	for _, tt := range []struct {
		i     iface
		ticks uint64
		want  int64
	}{
		{iface{power: 6}, 1_700_000_000_123_456, 1_700_000_000_123_456_000},
		{iface{power: 9}, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789},
		{iface{power: 12}, 1_700_000_000_123_456, 1_700_000_000_123},
		{iface{power: 3}, math.MaxUint64, math.MaxInt64},
		{iface{power: 127}, 5, 0},
		{iface{binary: true, power: 0}, 3, 3e9},
		{iface{binary: true, power: 32}, 1_700_000_000 << 32, 1_700_000_000e9},
		{iface{binary: true, power: 64}, 1 << 63, 5e8},
		{iface{binary: true, power: 127}, math.MaxUint64, 0},
		{iface{binary: true, power: 1}, math.MaxUint64, math.MaxInt64},
		{iface{power: 9, offset: math.MaxInt64}, 5, 5},
		{iface{power: 9, offset: -1}, 5e9, 4e9},
		{iface{power: 0, offset: 9e9}, 9e9, math.MaxInt64},
	} {
		if got := tt.i.time(tt.ticks); got != tt.want {
			t.Errorf("%d ticks of %+v: %d, want %d", tt.ticks, tt.i, got, tt.want)
		}
	}
}

// A file that is cut anywhere gives its whole packets, and says where it ends.
func TestCut(t *testing.T) {
	pcap := little().pcap(magicMicro, 4, 1).record(1, 0, "abc", 3).record(2, 0, "defgh", 5)
	ng := big().section().iface(1, 0).enhanced(0, 1, "abc", 3).secrets(SecretsTLS, "x").enhanced(0, 2, "defgh", 5)
	huge := little().section().iface(1, 0)
	huge.block(99, func(in *builder) { in.WriteString(strings.Repeat("x", 40_000)) })
	for name, b := range map[string][]byte{"pcap": pcap.Bytes(), "pcapng": ng.Bytes(), "large block": huge.Bytes()} {
		t.Run(name, func(t *testing.T) {
			all, _, err := read(t, bytes.NewReader(b), true)
			if err != nil {
				t.Fatal(err)
			}
			for n := 28; n < len(b); n += 1 + len(b)/500 {
				got, end, err := read(t, bytes.NewReader(b[:n]), true)
				if err == nil {
					if end != int64(n) {
						t.Errorf("cut to %d bytes: ended at %d", n, end)
					}
					continue
				}
				if name != "large block" {
					wantKind(t, err, ErrCut, end)
				}
				if !errors.Is(err, ErrCut) || end > int64(n) || len(got) > len(all) {
					t.Errorf("cut to %d bytes: %d packets, %v", n, len(got), err)
				}
				samePackets(t, got, all[:len(got)])
			}
		})
	}
}

func TestBadFiles(t *testing.T) {
	head := little().section().iface(1, 0)
	at := int64(head.Len())
	ng := func(f func(b *builder)) []byte {
		b := little().section().iface(1, 0)
		f(b)
		return b.Bytes()
	}
	for name, tt := range map[string]struct {
		data   []byte
		kind   error
		offset int64
		words  string
	}{
		"empty":          {nil, ErrNotCapture, 0, "test: not a capture file: it is empty"},
		"text":           {[]byte("hello, world, this is not a capture"), ErrNotCapture, 0, `text "hello, w"`},
		"binary":         {[]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, ErrNotCapture, 0, "the bytes 01 02 03 04"},
		"short":          {[]byte{1}, ErrNotCapture, 0, ""},
		"snoop":          {[]byte("snoop\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x04"), ErrNotCapture, 0, "snoop"},
		"pcap version":   {little().u32(magicMicro).u16(3).u16(0).u64(0).u64(0).Bytes(), ErrUnsupported, 0, "pcap version 3.0"},
		"pcapng version": {little().block(blockSection, func(in *builder) { in.u32(byteOrderMagic).u16(2).u16(1).u64(0) }).Bytes(), ErrUnsupported, 0, "pcapng version 2.1"},
		"no byte order":  {little().block(blockSection, func(in *builder) { in.u64(0).u64(0) }).Bytes(), ErrNotCapture, 0, ""},
		"huge packet":    {little().pcap(magicMicro, 4, 1).record(1, 0, "abc", 3).u32(1).u32(0).u32(1 << 30).u32(1 << 30).Bytes(), ErrCorrupt, 43, "1073741824 bytes"},
		"block length":   {ng(func(b *builder) { b.u32(6).u32(7).u32(0) }), ErrCorrupt, at, "a length of 7"},
		"trailer":        {ng(func(b *builder) { b.u32(77).u32(12).u32(16) }), ErrCorrupt, at, "does not repeat"},
		"interface":      {ng(func(b *builder) { b.enhanced(1, 0, "a", 1) }), ErrCorrupt, at, "interface 1"},
		"captured": {ng(func(b *builder) {
			b.block(blockEnhanced, func(in *builder) { in.u32(0).u64(0).u32(200).u32(200).u64(0) })
		}), ErrCorrupt, at, "200"},
		"small packet block": {ng(func(b *builder) { b.block(blockEnhanced, func(in *builder) { in.u32(0) }) }), ErrCorrupt, at, ""},
		"secrets length": {ng(func(b *builder) {
			b.block(blockSecrets, func(in *builder) { in.u32(SecretsTLS).u32(1 << 30).u32(0) })
		}), ErrCorrupt, at, "1073741824 bytes of secrets"},
		"second section": {ng(func(b *builder) { b.block(blockSection, func(in *builder) { in.u64(0).u64(0) }) }), ErrCorrupt, at, ""},
		"large section":  {ng(func(b *builder) { b.u32(blockSection).u32(1 << 30).u32(byteOrderMagic).u64(1).u64(0) }), ErrCorrupt, at, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := read(t, bytes.NewReader(tt.data), true)
			wantKind(t, err, tt.kind, tt.offset)
			if err != nil && (!strings.Contains(err.Error(), tt.words) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("error %q, want %q in it", err, tt.words)
			}
		})
	}
}

func TestManyInterfaces(t *testing.T) {
	b := little().section()
	for range maxInterfaces + 1 {
		b.iface(1, 0)
	}
	_, _, err := read(t, b, true)
	wantKind(t, err, ErrCorrupt, -1)
}

// A failure to read is shown as it is, after what was read.
func TestReadFailure(t *testing.T) {
	b := little().pcap(magicMicro, 4, 1).record(1, 0, "abc", 3)
	broken := errors.New("the disk is gone")
	got, _, err := read(t, io.MultiReader(b, iotest.ErrReader(broken)), true)
	if !errors.Is(err, broken) || len(got) != 1 {
		t.Errorf("%d packets, %v", len(got), err)
	}
	if _, _, err := read(t, iotest.ErrReader(broken), true); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	b := little().section().iface(1, 0)
	for range 5000 {
		b.enhanced(0, 1, "abcdefghijklmnop", 16)
	}
	r, err := NewReader("", b)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, MinBuffer)
	r.Fill(buf, true)
	var p Packet
	if n := testing.AllocsPerRun(1000, func() {
		if err := r.Next(&p); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

// FuzzReader reads anything: packets lie within the file, whose length bounds their number, and the
// way the file comes makes no difference.
func FuzzReader(f *testing.F) {
	f.Add(little().pcap(magicMicro, 4, 1).record(1, 0, "abc", 3).Bytes())
	f.Add(big().pcap(magicModified, 3, 1).record(1, 0, "abc", 3).Bytes())
	f.Add(little().section().iface(1, 0, option{2, "eth0"}, option{9, "\x8a"}).enhanced(0, 1, "abc", 3).secrets(SecretsTLS, "x").Bytes())
	f.Add(big().section().iface(1, 0).block(blockSimple, func(in *builder) { in.u32(3).u32(9) }).section().Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		got, end, err := read(t, bytes.NewReader(b), true)
		if end > int64(len(b)) || len(got) > len(b)/16 {
			t.Fatalf("%d packets up to %d of %d bytes", len(got), end, len(b))
		}
		again, _, err2 := read(t, iotest.HalfReader(bytes.NewReader(b)), false)
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("%v and %v", err, err2)
		}
		samePackets(t, again, got)
		for _, p := range got {
			if len(p.Data) > p.Length || !bytes.Contains(b, p.Data) {
				t.Fatalf("a packet of %d bytes with %d", p.Length, len(p.Data))
			}
		}
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
	})
}
