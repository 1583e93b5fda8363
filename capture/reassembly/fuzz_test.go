// SPDX-License-Identifier: Apache-2.0

package reassembly

import (
	"encoding/binary"
	"testing"

	"github.com/sightglass/sightglass/capture/decap"
)

// byteAt is what the streams of the fuzz test have at a sequence number.
func byteAt(seq uint32) byte { return byte(seq*167 + seq>>8) }

// checked is a Stream that knows what must come.
type checked struct {
	t    *testing.T
	c    *Conn
	n    [2]int64 // delivered or lost
	done [2]bool
}

func (k *checked) take(dir int, n int) uint32 {
	if n <= 0 || k.done[dir] {
		k.t.Fatalf("direction %d: %d bytes, ended %v", dir, n, k.done[dir])
	}
	at := uint32(k.c.half[dir].start) + uint32(k.n[dir])
	k.n[dir] += int64(n)
	return at
}

func (k *checked) Data(dir int, b []byte) {
	at := k.take(dir, len(b))
	for i, c := range b {
		if c != byteAt(at+uint32(i)) {
			k.t.Fatalf("direction %d: the byte at %d is not the stream's", dir, at+uint32(i))
		}
	}
}

func (k *checked) Gap(dir, n int) { k.take(dir, n) }

func (k *checked) Fin(dir int) {
	if k.done[dir] {
		k.t.Fatal("a FIN after the end")
	}
	k.done[dir] = true
}

func (k *checked) Reset(dir int) { k.done[dir] = true }

// FuzzConn takes any segments: 8 bytes each. What is delivered is the streams', once and in order, what is held is
// bounded, and the short way for common segments comes to the same as the long one.
func FuzzConn(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 2, 0, 0, 0, 0, 0, 0, 1, 18, 0, 0, 0, 1, 0, 0, 0, 16, 0, 1, 0, 1, 30, 0, 0, 17, 0, 31, 0, 1, 5, 0})
	f.Add([]byte{0, 16, 0, 9, 0, 0, 30, 0, 0, 16, 0, 1, 0, 0, 8, 2, 1, 16, 0, 200, 0, 60, 30, 0, 1, 20, 0, 230, 0, 60, 0, 0})
	for seed := range 8 {
		m := newModel(uint64(seed), 2000).run(120).lose(8).reorder(6)
		var b []byte
		for _, p := range m.packets {
			b = append(b, byte(p.dir), byte(p.seg.Flags))
			b = binary.BigEndian.AppendUint16(b, uint16(p.seg.Seq-m.isn[p.dir]))
			b = binary.BigEndian.AppendUint16(b, uint16(p.seg.Ack-m.isn[1-p.dir]))
			b = append(b, byte(len(p.seg.Data)), byte(p.seg.Missing))
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		limits := Limits{
			Bytes: 16 << 10, Segments: 20, ReorderPackets: 8, ReorderTime: 1000, HolePackets: 64, HoleTime: 5000,
		}
		p, q := NewPool(limits), NewPool(limits)
		var c, slow Conn // slow has no short way
		k := &checked{t: t, c: &c}
		l := &checked{t: t, c: &slow}
		isn := [2]uint32{0xffffff00, 0x7fffff80}
		now := int64(0)
		for ; len(in) >= 8; in = in[8:] {
			dir := int(in[0] & 1)
			s := Segment{Flags: decap.Flags(in[1])}
			s.Seq = isn[dir] + scaled(in[2:], in[0])
			s.Ack = isn[1-dir] + scaled(in[4:], in[0]>>2)
			for i := range uint32(in[6]) {
				if s.Flags&decap.SYN != 0 {
					i++
				}
				s.Data = append(s.Data, byteAt(s.Seq+i))
			}
			s.Missing = int(in[7])
			now += int64(in[0] >> 5 * 100)
			if c.Belongs(dir, &s) == New {
				c.Flush(p, k)
				c.Drop(p)
				c = Conn{}
				k = &checked{t: t, c: &c}
				slow.Drop(q)
				slow = Conn{}
				l = &checked{t: t, c: &slow}
			}
			c.Packet(dir, &s, now, p, k)
			slow.packet(dir, &s, now, q, l)
			if !alike(&c, &slow) || k.n != l.n || k.done != l.done {
				t.Fatalf("the short way led elsewhere:\n%+v\n%+v", c, slow)
			}
			if c.Held() > limits.Bytes || c.Held() != p.Held || c.Held() < 0 {
				t.Fatalf("%d bytes held of %d, in the pool %d", c.Held(), limits.Bytes, p.Held)
			}
			if len(c.half[0].queue) > limits.Segments+1 {
				t.Fatalf("%d segments held", len(c.half[0].queue))
			}
		}
		c.Tick(now+1, p, k)
		c.Flush(p, k)
		if c.Pending() || c.Held() != 0 {
			t.Fatalf("pending %v, held %d after the end", c.Pending(), c.Held())
		}
	})
}

// scaled reads a number that is near, or far away if the selector says so.
func scaled(b []byte, selector byte) uint32 {
	n := uint32(binary.BigEndian.Uint16(b))
	if selector&2 != 0 {
		n <<= 16
	}
	return n
}
