// SPDX-License-Identifier: Apache-2.0

package reassembly

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/sightglass/sightglass/capture/decap"
)

// sent is a segment as a capture shows it.
type sent struct {
	dir int
	seg Segment
}

// model is a connection whose streams are known.
type model struct {
	rng     *rand.Rand
	isn     [2]uint32
	streams [2][]byte
	at      [2]int // sent so far
	packets []sent
}

func newModel(seed uint64, size int) *model {
	m := &model{rng: rand.New(rand.NewPCG(seed, 1))}
	for i := range m.streams {
		m.streams[i] = make([]byte, m.rng.IntN(size)+1)
		for j := range m.streams[i] {
			m.streams[i][j] = byte(m.rng.Uint32())
		}
		m.isn[i] = m.rng.Uint32()
		if m.rng.IntN(2) == 0 {
			m.isn[i] = -uint32(m.rng.IntN(size) + 1) // wraps soon
		}
	}
	return m
}

func (m *model) seq(dir, at int) uint32 { return m.isn[dir] + 1 + uint32(at) }

// segment makes the segment of a direction from one offset to another. It acknowledges all that the
// other side has sent.
func (m *model) segment(dir, from, to int) sent {
	return sent{dir, Segment{
		Seq: m.seq(dir, from), Ack: m.seq(1-dir, m.at[1-dir]), Flags: decap.ACK,
		Data: m.streams[dir][from:to],
	}}
}

// run sends both streams in segments of up to mss bytes, from SYN to FIN.
func (m *model) run(mss int) *model {
	m.packets = append(m.packets,
		sent{0, Segment{Seq: m.isn[0], Flags: decap.SYN}},
		sent{1, Segment{Seq: m.isn[1], Ack: m.isn[0] + 1, Flags: decap.SYN | decap.ACK}},
		m.segment(0, 0, 0))
	dir := 0
	for m.at[0] < len(m.streams[0]) || m.at[1] < len(m.streams[1]) {
		if m.rng.IntN(4) == 0 || m.at[dir] == len(m.streams[dir]) {
			dir = 1 - dir
		}
		n := min(m.rng.IntN(mss)+1, len(m.streams[dir])-m.at[dir])
		m.packets = append(m.packets, m.segment(dir, m.at[dir], m.at[dir]+n))
		m.at[dir] += n
		if m.rng.IntN(3) == 0 {
			m.packets = append(m.packets, m.segment(1-dir, m.at[1-dir], m.at[1-dir]))
		}
	}
	for dir := range 2 {
		fin := m.segment(dir, m.at[dir], m.at[dir])
		fin.seg.Flags |= decap.FIN
		if dir == 1 {
			fin.seg.Ack++ // of the other's FIN
		}
		m.packets = append(m.packets, fin)
	}
	last := m.segment(0, m.at[0], m.at[0])
	last.seg.Seq++
	last.seg.Ack++
	m.packets = append(m.packets, last)
	return m
}

// reorder moves packets by up to window places.
func (m *model) reorder(window int) *model {
	type keyed struct {
		key int
		p   sent
	}
	all := make([]keyed, len(m.packets))
	for i, p := range m.packets {
		all[i] = keyed{i*2 + m.rng.IntN(window*2), p}
	}
	for i := 1; i < len(all); i++ { // a stable insertion sort, short ways only
		for j := i; j > 0 && all[j].key < all[j-1].key; j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	for i, k := range all {
		m.packets[i] = k.p
	}
	return m
}

// repeat sends parts of what was sent again, with other cuts, and lies about its content: what came
// first counts.
func (m *model) repeat() *model {
	var out []sent
	high := [2]int{}
	for _, p := range m.packets {
		out = append(out, p)
		d := p.dir
		high[d] = max(high[d], int(p.seg.Seq-m.seq(d, 0))+len(p.seg.Data))
		if len(p.seg.Data) == 0 || m.rng.IntN(3) > 0 {
			continue
		}
		from := max(0, high[d]-m.rng.IntN(200)-1)
		lie := bytes.Repeat([]byte{0xee}, high[d]-from)
		out = append(out, sent{d, Segment{Seq: m.seq(d, from), Ack: p.seg.Ack, Flags: decap.ACK, Data: lie}})
		// A keep-alive, with and without its byte of garbage (RFC 9293, Section 3.8.4).
		out = append(out, sent{d, Segment{
			Seq: m.seq(d, high[d]-1), Ack: p.seg.Ack, Flags: decap.ACK, Data: lie[:m.rng.IntN(2)],
		}})
	}
	m.packets = out
	return m
}

// lose drops packets of the capture, of those with data one in n.
func (m *model) lose(n int) *model {
	out := m.packets[:0]
	for _, p := range m.packets {
		if len(p.seg.Data) == 0 || m.rng.IntN(n) > 0 {
			out = append(out, p)
		}
	}
	m.packets = out
	return m
}

// truncate cuts segments as a small snapshot length does, one in n.
func (m *model) truncate(n int) *model {
	for i := range m.packets {
		s := &m.packets[i].seg
		if len(s.Data) > 0 && m.rng.IntN(n) == 0 {
			keep := m.rng.IntN(len(s.Data))
			s.Missing = len(s.Data) - keep
			s.Data = s.Data[:keep]
		}
	}
	return m
}

// without leaves packets out.
func (m *model) without(drop func(p sent) bool) *model {
	out := m.packets[:0]
	for _, p := range m.packets {
		if !drop(p) {
			out = append(out, p)
		}
	}
	m.packets = out
	return m
}

// got is a Stream that keeps what it is given; bytes in gaps are zero.
type got struct {
	t      testing.TB
	bytes  [2][]byte
	lost   [2][]bool
	fin    [2]bool
	reset  [2]bool
	frozen [2]bool
}

func (g *got) Data(dir int, b []byte) {
	if len(b) == 0 || g.frozen[dir] {
		g.t.Errorf("direction %d: %d bytes, ended %v", dir, len(b), g.frozen[dir])
	}
	g.bytes[dir] = append(g.bytes[dir], b...)
	g.lost[dir] = append(g.lost[dir], make([]bool, len(b))...)
}

func (g *got) Gap(dir, n int) {
	if n <= 0 || n >= maxSeqReach || g.frozen[dir] {
		g.t.Fatalf("direction %d: a gap of %d bytes, ended %v", dir, n, g.frozen[dir])
	}
	if n > 1<<20 {
		n = 1 << 20 // hostile input only
	}
	g.bytes[dir] = append(g.bytes[dir], make([]byte, n)...)
	for range n {
		g.lost[dir] = append(g.lost[dir], true)
	}
}

func (g *got) Fin(dir int) {
	if g.frozen[dir] {
		g.t.Errorf("direction %d ended twice", dir)
	}
	g.fin[dir], g.frozen[dir] = true, true
}

func (g *got) Reset(dir int) {
	if g.reset[dir] {
		g.t.Errorf("direction %d was reset twice", dir)
	}
	g.reset[dir], g.frozen[dir] = true, true
}

func (g *got) gaps(dir int) (n int) {
	for _, l := range g.lost[dir] {
		if l {
			n++
		}
	}
	return n
}

// feed runs a connection over packets, one microsecond apart, and flushes it.
func feed(t testing.TB, packets []sent, limits Limits) (*got, *Pool) {
	g, p := &got{t: t}, NewPool(limits)
	var c Conn
	for i := range packets {
		// The bytes are only lent.
		s := packets[i].seg
		s.Data = bytes.Clone(s.Data)
		c.Packet(packets[i].dir, &s, int64(i)*1000, p, g)
		for j := range s.Data {
			s.Data[j] = 0xdd
		}
		if held := c.Held(); held != p.Held || held > limits.Bytes {
			t.Fatalf("held %d and %d bytes, limit %d", held, p.Held, limits.Bytes)
		}
	}
	c.Flush(p, g)
	if c.Held() != 0 || p.Held != 0 || c.Pending() {
		t.Errorf("held %d and %d bytes after the end, pending %v", c.Held(), p.Held, c.Pending())
	}
	return g, p
}

// same checks that all was delivered.
func (m *model) same(t *testing.T, g *got) {
	t.Helper()
	for dir := range 2 {
		if !bytes.Equal(g.bytes[dir], m.streams[dir]) || g.gaps(dir) > 0 {
			t.Errorf("direction %d: %d bytes with %d lost, want %d; first difference at %d", dir,
				len(g.bytes[dir]), g.gaps(dir), len(m.streams[dir]), difference(g.bytes[dir], m.streams[dir]))
		}
		if !g.fin[dir] || g.reset[dir] {
			t.Errorf("direction %d: fin %v, reset %v", dir, g.fin[dir], g.reset[dir])
		}
	}
}

// sameButGaps checks that what was delivered is right, and at its place.
func (m *model) sameButGaps(t *testing.T, g *got) {
	t.Helper()
	for dir := range 2 {
		b := g.bytes[dir]
		if len(b) > len(m.streams[dir]) {
			t.Errorf("direction %d: %d bytes of %d", dir, len(b), len(m.streams[dir]))
			return
		}
		for i := range b {
			if !g.lost[dir][i] && b[i] != m.streams[dir][i] {
				t.Errorf("direction %d: byte %d is not the stream's", dir, i)
				return
			}
		}
	}
}

func difference(a, b []byte) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

// each runs a test over many models.
func each(t *testing.T, n int, f func(t *testing.T, seed uint64)) {
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { f(t, uint64(seed)) })
	}
}

// alike reports whether two connections are the same, but for how their segments were taken.
func alike(a, b *Conn) bool {
	x, y := *a, *b
	x.calm, y.calm, x.cand, y.cand = false, false, candidate{}, candidate{}
	return reflect.DeepEqual(x, y) && a.Pending() == b.Pending() && a.Ended() == b.Ended()
}
