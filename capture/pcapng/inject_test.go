// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// inject makes the copy of files with the given lines.
func inject(t *testing.T, lines []string, contents ...[]byte) []byte {
	t.Helper()
	var paths []string
	for _, c := range contents {
		paths = append(paths, file(t, "x", c))
	}
	var files []File
	var ends []int64
	for _, p := range paths {
		f, err := Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		in, err := f.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		readAll(in.Reader, true)
		ends = append(ends, in.Offset())
		in.Close()
	}
	var out bytes.Buffer
	j, err := NewInjector(&out, files)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if err := j.Add([]byte(l)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Finish(ends); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sameWithSecrets checks that a copy has the packets and secrets it should have.
func sameWithSecrets(t *testing.T, got []byte, packets []Packet, secrets string) {
	t.Helper()
	r, err := NewReader("copy", bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	before := 0
	r.Secrets = func(kind uint32, b []byte) {
		if kind != SecretsTLS {
			t.Errorf("secrets of type %x", kind)
		}
		found.Write(b)
		before++
	}
	all, err := readAll(r, true)
	if err != nil {
		t.Error(err)
	}
	if found.String() != secrets {
		t.Errorf("%d bytes of secrets, want %d", found.Len(), len(secrets))
	}
	samePackets(t, all, packets)
}

func TestInjectIntoPcapng(t *testing.T) {
	line := "CLIENT_RANDOM 0123 4567\n"
	many := strings.Split(strings.Repeat(line, 10_000), "\n")
	for i := range many {
		many[i] += "\n"
	}
	for _, b := range []*builder{little(), big()} {
		b.section().iface(1, 0, option{2, "eth0"}).iface(113, 0)
		head := b.Len()
		b.block(4, func(in *builder) { in.WriteString("names") })
		b.enhanced(0, 1, "abc", 3, option{1, "a comment"}).enhanced(1, 2, "def", 7)
		b.section().iface(1, 0).enhanced(0, 5, "ghi", 3)
		b.block(0x80000bad, func(in *builder) { in.WriteString(strings.Repeat("x", 600_000)) })
		original := b.Bytes()
		packets, _, err := read(t, bytes.NewReader(original), true)
		if err != nil {
			t.Fatal(err)
		}
		for _, lines := range [][]string{nil, {line}, many[:10_000]} {
			for _, in := range [][]byte{original, gzipped(original)} {
				got := inject(t, lines, in)
				sameWithSecrets(t, got, packets, strings.Join(lines, ""))
				// But for the blocks that were put in, the copy is the original.
				n := len(got) - len(original)
				if !bytes.Equal(got[:head], original[:head]) || !bytes.Equal(got[head+n:], original[head:]) {
					t.Error("the original blocks are not bit for bit")
				}
				if len(lines) == 0 && n != 0 {
					t.Errorf("%d bytes more, for nothing", n)
				}
			}
		}
	}
}

// A section length would not be true any more.
func TestInjectSectionLength(t *testing.T) {
	b := little()
	b.block(blockSection, func(in *builder) { in.u32(byteOrderMagic).u16(1).u16(0).u64(123) })
	b.iface(1, 0).enhanced(0, 1, "abc", 3)
	got := inject(t, []string{"x\n"}, b.Bytes())
	if n := binary.LittleEndian.Uint64(got[16:]); n != ^uint64(0) {
		t.Errorf("section length %d", n)
	}
}

func TestInjectIntoPcap(t *testing.T) {
	for _, magic := range []uint32{magicMicro, magicNano} {
		for _, b := range []*builder{little(), big()} {
			b.pcap(magic, 4, 1|1<<26|2<<28).record(1_700_000_000, 123_456, "abc", 9).record(1_700_000_001, 999_999, "", 0)
			packets, _, err := read(t, bytes.NewReader(b.Bytes()), true)
			if err != nil {
				t.Fatal(err)
			}
			got := inject(t, []string{"one\n", "two\n"}, b.Bytes())
			sameWithSecrets(t, got, packets, "one\ntwo\n")
		}
	}
}

func TestInjectIntoSet(t *testing.T) {
	a := little().pcap(magicMicro, 4, 101).record(1, 2, "abc", 3).Bytes()
	b := big().section().iface(1, 0).enhanced(0, 3_000_000, "def", 3).Bytes()
	c := big().pcap(magicNano, 4, 113).record(5, 6, "ghi", 3).Bytes()
	var packets []Packet
	for _, f := range [][]byte{a, b, c} {
		p, _, err := read(t, bytes.NewReader(f), true)
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, p...)
	}
	sameWithSecrets(t, inject(t, []string{"x\n"}, a, b, c), packets, "x\n")
	sameWithSecrets(t, inject(t, []string{"x\n"}, b, c, a), []Packet{packets[1], packets[2], packets[0]}, "x\n")
}

// Of a file that is cut, or corrupt further on, the copy has what could be read.
func TestInjectIntoDamaged(t *testing.T) {
	b := little().section().iface(1, 0).enhanced(0, 1, "abc", 3)
	packets, _, _ := read(t, bytes.NewReader(b.Bytes()), true)
	b.u32(blockEnhanced).u32(400)
	sameWithSecrets(t, inject(t, []string{"x\n"}, b.Bytes()), packets, "x\n")
	b.u64(1 << 60)
	sameWithSecrets(t, inject(t, []string{"x\n"}, b.Bytes()), packets, "x\n")
	p := little().pcap(magicMicro, 4, 1).record(1, 2, "abc", 3)
	packets, _, _ = read(t, bytes.NewReader(p.Bytes()), true)
	p.u64(7)
	sameWithSecrets(t, inject(t, []string{"x\n"}, p.Bytes()), packets, "x\n")
}

func TestInjectRefuses(t *testing.T) {
	if _, err := NewInjector(io.Discard, []File{{Path: Stdin}}); err == nil {
		t.Error("standard input is read twice")
	}
	if _, err := NewInjector(io.Discard, nil); err == nil {
		t.Error("no file")
	}
	f, _ := Stat(file(t, "x", []byte("this is no capture at all")))
	_, err := NewInjector(io.Discard, []File{f})
	wantKind(t, err, ErrNotCapture, 0)
}
