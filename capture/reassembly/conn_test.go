// SPDX-License-Identifier: Apache-2.0

package reassembly

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/sightglass/sightglass/capture/decap"
)

func TestInOrder(t *testing.T) {
	each(t, 50, func(t *testing.T, seed uint64) {
		m := newModel(seed, 20_000).run(1448)
		g, p := feed(t, m.packets, DefaultLimits())
		m.same(t, g)
		if p.Counters != (Counters{}) {
			t.Errorf("counted %+v in a connection without fault", p.Counters)
		}
	})
}

// Any order of packets within the window gives the same streams.
func TestReordered(t *testing.T) {
	each(t, 200, func(t *testing.T, seed uint64) {
		m := newModel(seed, 20_000).run(int(50 + seed*7)).reorder(2 + int(seed)%30)
		g, _ := feed(t, m.packets, DefaultLimits())
		m.same(t, g)
	})
}

func TestRepeated(t *testing.T) {
	each(t, 100, func(t *testing.T, seed uint64) {
		m := newModel(seed, 20_000).run(500).repeat()
		g, _ := feed(t, m.packets, DefaultLimits())
		m.same(t, g)
	})
}

func TestWithoutSYN(t *testing.T) {
	each(t, 100, func(t *testing.T, seed uint64) {
		m := newModel(seed, 20_000).run(500)
		m.packets = m.packets[3:]
		m.reorder(1 + int(seed)%30)
		g, _ := feed(t, m.packets, DefaultLimits())
		m.same(t, g)
	})
}

// The third packet of the handshake, or all of it but the server's part, may be missing.
func TestWithoutPartsOfHandshake(t *testing.T) {
	for _, left := range []uint{0b110, 0b101, 0b011, 0b100, 0b010, 0b001} {
		m := newModel(7, 5000).run(500)
		var head []sent
		for i := range 3 {
			if left&(1<<i) != 0 {
				head = append(head, m.packets[i])
			}
		}
		m.packets = append(head, m.packets[3:]...)
		g, _ := feed(t, m.packets, DefaultLimits())
		m.same(t, g)
	}
}

// What was not captured becomes a gap of its length at its place.
func TestLost(t *testing.T) {
	each(t, 200, func(t *testing.T, seed uint64) {
		m := newModel(seed, 50_000).run(500).lose(3 + int(seed)%20).reorder(1 + int(seed)%10)
		limits := DefaultLimits()
		if seed%2 == 0 {
			limits.ReorderPackets = 20
		}
		g, _ := feed(t, m.packets, limits)
		m.sameButGaps(t, g)
		for dir := range 2 {
			if len(g.bytes[dir]) != len(m.streams[dir]) {
				t.Errorf("direction %d: %d bytes of %d", dir, len(g.bytes[dir]), len(m.streams[dir]))
			}
		}
	})
}

func TestTruncated(t *testing.T) {
	each(t, 100, func(t *testing.T, seed uint64) {
		m := newModel(seed, 50_000).run(500).truncate(2).reorder(1 + int(seed)%10)
		g, _ := feed(t, m.packets, DefaultLimits())
		m.sameButGaps(t, g)
		for dir := range 2 {
			lost := 0
			for _, p := range m.packets {
				if p.dir == dir {
					lost += p.seg.Missing
				}
			}
			if g.gaps(dir) != lost || len(g.bytes[dir]) != len(m.streams[dir]) || !g.fin[dir] {
				t.Errorf("direction %d: %d bytes lost, want %d; fin %v", dir, g.gaps(dir), lost, g.fin[dir])
			}
		}
	})
}

// A lost packet that is sent again after more than the reordering window is no gap.
func TestRetransmittedLate(t *testing.T) {
	m := newModel(1, 2).run(1)
	m.streams[1] = bytes.Repeat([]byte("0123456789"), 10_000)
	m.packets = m.packets[:3]
	m.at = [2]int{}
	m.packets = append(m.packets, m.segment(1, 0, 100))
	for at := 200; at < 100_000; at += 100 {
		m.packets = append(m.packets, m.segment(1, at, at+100))
		dup := m.segment(0, 0, 0)
		dup.seg.Ack = m.seq(1, 100)
		m.packets = append(m.packets, dup)
	}
	m.packets = append(m.packets, m.segment(1, 100, 200))
	g, _ := feed(t, m.packets, DefaultLimits())
	if !bytes.Equal(g.bytes[1], m.streams[1]) || g.gaps(1) > 0 {
		t.Errorf("%d bytes, %d lost", len(g.bytes[1]), g.gaps(1))
	}
}

// A hole is given up when its far side was acknowledged and the window has passed, not at the end.
func TestGapInTime(t *testing.T) {
	m := newModel(3, 2).run(1)
	m.packets = m.packets[:3]
	m.streams[1] = make([]byte, 100_000)
	m.at = [2]int{}
	for at := 0; at < 100_000; at += 100 {
		if at != 5000 {
			m.packets = append(m.packets, m.segment(1, at, at+100))
		}
		m.at[1] = at + 100
		m.packets = append(m.packets, m.segment(0, 0, 0))
	}
	g, p, limits := &got{t: t}, NewPool(DefaultLimits()), DefaultLimits()
	var c Conn
	gapAt := 0
	for i, s := range m.packets {
		c.Packet(s.dir, &s.seg, int64(i)*1000, p, g)
		if gapAt == 0 && g.gaps(1) > 0 {
			gapAt = i
		}
	}
	hole := 3 + 2*50
	if gapAt < hole || gapAt > hole+int(limits.ReorderPackets)+2 {
		t.Errorf("the hole at packet %d was given up at %d", hole, gapAt)
	}
	if len(g.bytes[1]) != 100_000 || g.gaps(1) != 100 {
		t.Errorf("%d bytes, %d lost", len(g.bytes[1]), g.gaps(1))
	}
}

// Time, too, ends the wait for a hole.
func TestTick(t *testing.T) {
	m := newModel(3, 5000).run(500)
	g, p, limits := &got{t: t}, NewPool(DefaultLimits()), DefaultLimits()
	var c Conn
	lost := 0
	for i, s := range m.packets {
		if lost == 0 && len(s.seg.Data) > 0 && s.dir == 0 {
			lost = len(s.seg.Data)
			continue
		}
		c.Packet(s.dir, &s.seg, int64(i)*1000, p, g)
	}
	if g.gaps(0) != 0 || !c.Pending() {
		t.Fatalf("given up at once")
	}
	c.Tick(limits.ReorderTime+int64(len(m.packets))*1000, p, g)
	if g.gaps(0) != lost || c.Pending() || !c.Ended() {
		t.Errorf("%d bytes lost, want %d; pending %v, ended %v", g.gaps(0), lost, c.Pending(), c.Ended())
	}
}

// One direction alone is delivered in order, with gaps for the other as far as that is acknowledged.
func TestOneDirection(t *testing.T) {
	each(t, 50, func(t *testing.T, seed uint64) {
		dir := int(seed) % 2
		m := newModel(seed, 50_000).run(500).without(func(p sent) bool { return p.dir != dir })
		g, _ := feed(t, m.packets, DefaultLimits())
		if !bytes.Equal(g.bytes[dir], m.streams[dir]) || g.gaps(dir) > 0 || !g.fin[dir] {
			t.Errorf("%d bytes of %d, %d lost", len(g.bytes[dir]), len(m.streams[dir]), g.gaps(dir))
		}
		if other := g.bytes[1-dir]; len(other) != g.gaps(1-dir) || len(other) > len(m.streams[1-dir])+1 {
			t.Errorf("the other direction: %d bytes, %d lost, want %d", len(other), g.gaps(1-dir), len(m.streams[1-dir]))
		}
	})
}

// What a side says is delivered after what made it say so.
func TestCausalOrder(t *testing.T) {
	each(t, 100, func(t *testing.T, seed uint64) {
		m := newModel(seed, 20_000).run(300)
		// causes[dir][n] is how much of the other side was delivered before byte n of dir could be.
		var causes [2][]int
		for _, p := range m.packets {
			for range p.seg.Data {
				causes[p.dir] = append(causes[p.dir], int(p.seg.Ack-m.seq(1-p.dir, 0)))
			}
		}
		m.reorder(1 + int(seed)%30)
		o := &ordered{got: got{t: t}, causes: causes}
		p := NewPool(DefaultLimits())
		var c Conn
		for i, s := range m.packets {
			c.Packet(s.dir, &s.seg, int64(i)*1000, p, o)
		}
		c.Flush(p, o)
		m.same(t, &o.got)
	})
}

type ordered struct {
	got
	causes [2][]int
}

func (o *ordered) Data(dir int, b []byte) {
	at := len(o.bytes[dir])
	if need := o.causes[dir][at+len(b)-1]; need > len(o.bytes[1-dir]) {
		o.t.Errorf("direction %d: byte %d was delivered after %d bytes of the other side, not %d",
			dir, at, len(o.bytes[1-dir]), need)
	}
	o.got.Data(dir, b)
}

// However little may be held, what is delivered is right.
func TestTightLimits(t *testing.T) {
	each(t, 100, func(t *testing.T, seed uint64) {
		limits := DefaultLimits()
		limits.Bytes = 4096
		limits.Segments = 8
		m := newModel(seed, 50_000).run(500).lose(10)
		// Where the streams begin is known; a late SYN could come too late.
		head := m.packets[:3:3]
		m.packets = m.packets[3:]
		m.reorder(1 + int(seed)%30)
		m.packets = append(head, m.packets...)
		g, _ := feed(t, m.packets, limits)
		m.sameButGaps(t, g)
	})
}

func TestReset(t *testing.T) {
	begin := func() (*model, *Conn, *got, *Pool) {
		m := newModel(5, 2).run(1)
		m.streams = [2][]byte{[]byte("hello, this is the client"), []byte("and this is the server")}
		m.at = [2]int{}
		m.packets = m.packets[:3]
		m.packets = append(m.packets, m.segment(0, 0, 5), m.segment(0, 5, 10))
		g, p, c := &got{t: t}, NewPool(DefaultLimits()), new(Conn)
		for _, s := range m.packets {
			c.Packet(s.dir, &s.seg, 0, p, g)
		}
		return m, c, g, p
	}
	rst := func(m *model, at int) *Segment {
		return &Segment{Seq: m.seq(0, at), Flags: decap.RST | decap.ACK, Ack: m.seq(1, 0)}
	}
	t.Run("in order", func(t *testing.T) {
		m, c, g, p := begin()
		c.Packet(0, rst(m, 10), 0, p, g)
		if !g.reset[0] || !c.WasReset() || string(g.bytes[0]) != "hello, thi" {
			t.Errorf("reset %v after %q", g.reset[0], g.bytes[0])
		}
		// What the other side had sent before is still delivered.
		s := m.segment(1, 0, 8).seg
		c.Packet(1, &s, 0, p, g)
		if string(g.bytes[1]) != "and this" {
			t.Errorf("the other side: %q", g.bytes[1])
		}
	})
	t.Run("out of the window", func(t *testing.T) {
		m, c, g, p := begin()
		c.Packet(0, rst(m, -1), 0, p, g)
		c.Packet(0, rst(m, 100<<20), 0, p, g)
		c.Flush(p, g)
		if g.reset[0] {
			t.Error("a reset was believed that the peer would not have")
		}
	})
	t.Run("before the last bytes", func(t *testing.T) {
		m, c, g, p := begin()
		c.Packet(0, rst(m, 15), 0, p, g)
		if g.reset[0] {
			t.Error("the reset came before the bytes that were sent before it")
		}
		s := m.segment(0, 10, 15).seg
		c.Packet(0, &s, 0, p, g)
		if !g.reset[0] || string(g.bytes[0]) != "hello, this is " {
			t.Errorf("reset %v after %q", g.reset[0], g.bytes[0])
		}
	})
	t.Run("after FIN", func(t *testing.T) {
		m, c, g, p := begin()
		c.Packet(0, &Segment{Seq: m.seq(0, 10), Flags: decap.FIN | decap.ACK, Ack: m.seq(1, 0)}, 0, p, g)
		c.Packet(0, rst(m, 11), 0, p, g)
		if !g.fin[0] || !g.reset[0] {
			t.Errorf("fin %v, reset %v", g.fin[0], g.reset[0])
		}
	})
}

func TestLostFIN(t *testing.T) {
	m := newModel(2, 3000).run(500).without(func(p sent) bool { return p.seg.Flags&decap.FIN != 0 })
	g, _ := feed(t, m.packets, DefaultLimits())
	if g.gaps(0)+g.gaps(1) > 0 {
		t.Errorf("a FIN that was not captured became a gap: %d, %d", g.gaps(0), g.gaps(1))
	}
}

// Bytes behind a FIN, and acknowledgments of what was never sent, change nothing.
func TestNonsense(t *testing.T) {
	m := newModel(4, 3000).run(500)
	var out []sent
	for i, p := range m.packets {
		out = append(out, p)
		if i < 3 {
			continue
		}
		s := m.segment(p.dir, 0, 0)
		s.seg.Seq = p.seg.Seq
		s.seg.Ack = p.seg.Ack + 1<<30 + 12345
		far := m.segment(p.dir, 0, 1)
		far.seg.Seq += 1<<30 + 999
		far.seg.Ack = p.seg.Ack
		out = append(out, s, far)
	}
	m.packets = append(out, sent{0, Segment{
		Seq: m.seq(0, len(m.streams[0])+1), Ack: m.packets[len(m.packets)-1].seg.Ack, Flags: decap.ACK, Data: []byte("late"),
	}})
	g, _ := feed(t, m.packets, DefaultLimits())
	m.same(t, g)
}

func TestBelongs(t *testing.T) {
	syn := func(isn uint32) *Segment { return &Segment{Seq: isn, Flags: decap.SYN} }
	synAck := func(isn, ack uint32) *Segment {
		return &Segment{Seq: isn, Ack: ack, Flags: decap.SYN | decap.ACK}
	}
	data := func(seq uint32) *Segment {
		return &Segment{Seq: seq, Flags: decap.ACK, Data: []byte("x")}
	}
	live := func() *Conn {
		m := newModel(6, 2).run(1)
		m.isn = [2]uint32{1000, 2000}
		c, p := new(Conn), NewPool(DefaultLimits())
		c.Packet(0, syn(1000), 0, p, &got{t: t})
		c.Packet(1, synAck(2000, 1001), 0, p, &got{t: t})
		c.Packet(0, &Segment{Seq: 1001, Ack: 2001, Flags: decap.ACK, Data: []byte("x")}, 0, p, &got{t: t})
		return c
	}
	ended := func() *Conn {
		c := live()
		c.Drop(NewPool(DefaultLimits()))
		return c
	}
	oneSided := func() *Conn {
		c, p := new(Conn), NewPool(DefaultLimits())
		c.Packet(0, syn(1000), 0, p, &got{t: t})
		return c
	}
	type step struct {
		dir  int
		seg  *Segment
		want Belonging
	}
	for name, tt := range map[string]struct {
		conn  func() *Conn
		steps []step
	}{
		"the same SYN again":            {live, []step{{0, syn(1000), Same}}},
		"data":                          {live, []step{{0, data(1002), Same}}},
		"a SYN out of nowhere":          {live, []step{{0, syn(5000), Ignore}, {0, data(1002), Same}}},
		"a SYN that is answered":        {live, []step{{0, syn(5000), Ignore}, {1, synAck(7000, 5001), New}}},
		"an answer to another SYN":      {live, []step{{0, syn(5000), Ignore}, {1, synAck(7000, 6001), Ignore}}},
		"a SYN after the end":           {ended, []step{{0, syn(5000), New}}},
		"a SYN-ACK after the end":       {ended, []step{{1, synAck(7000, 5001), New}}},
		"a SYN where no one answers":    {oneSided, []step{{0, syn(5000), New}}},
		"the other side's SYN, at last": {oneSided, []step{{1, synAck(2000, 1001), Same}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := tt.conn()
			for i, s := range tt.steps {
				if got := c.Belongs(s.dir, s.seg); got != s.want {
					t.Errorf("step %d: %d, want %d", i, got, s.want)
				}
			}
		})
	}
}

// The short way for common segments comes to the same as the long one, and is taken.
func TestCommonSegments(t *testing.T) {
	each(t, 60, func(t *testing.T, seed uint64) {
		m := newModel(seed, 20_000).run(300)
		if seed%2 == 1 {
			m.lose(50).reorder(3)
		}
		var c, slow Conn
		p, q := NewPool(DefaultLimits()), NewPool(DefaultLimits())
		g, h := &got{t: t}, &got{t: t}
		common := 0
		for i, s := range m.packets {
			calm := c.calm
			c.Packet(s.dir, &s.seg, int64(i)*1000, p, g)
			slow.packet(s.dir, &s.seg, int64(i)*1000, q, h)
			if calm && c.calm {
				common++
			}
			if !alike(&c, &slow) {
				t.Fatalf("after packet %d:\n%+v\n%+v", i, c, slow)
			}
		}
		if !reflect.DeepEqual(g, h) {
			t.Error("something else was delivered")
		}
		if seed%2 == 0 && common < len(m.packets)/2 {
			t.Errorf("%d common segments of %d", common, len(m.packets))
		}
	})
}

// In order, nothing is copied and nothing allocated.
func TestInOrderAllocatesNothing(t *testing.T) {
	var c Conn
	p := NewPool(DefaultLimits())
	s := Segment{Seq: 1, Flags: decap.SYN}
	var sink silent
	c.Packet(0, &s, 0, p, &sink)
	c.Packet(1, &Segment{Seq: 1, Ack: 2, Flags: decap.SYN | decap.ACK}, 0, p, &sink)
	s = Segment{Seq: 2, Ack: 2, Flags: decap.ACK, Data: make([]byte, 1448)}
	if n := testing.AllocsPerRun(1000, func() {
		c.Packet(0, &s, 0, p, &sink)
		s.Seq += 1448
	}); n > 0 {
		t.Errorf("%v allocations a segment", n)
	}
	if sink.n < 1448*1000 {
		t.Errorf("%d bytes delivered", sink.n)
	}
}

type silent struct{ n int }

func (s *silent) Data(_ int, b []byte) { s.n += len(b) }
func (s *silent) Gap(int, int)         {}
func (s *silent) Fin(int)              {}
func (s *silent) Reset(int)            {}

func BenchmarkInOrder(b *testing.B) {
	var c Conn
	p := NewPool(DefaultLimits())
	var sink silent
	c.Packet(0, &Segment{Seq: 1, Flags: decap.SYN}, 0, p, &sink)
	c.Packet(1, &Segment{Seq: 1, Ack: 2, Flags: decap.SYN | decap.ACK}, 0, p, &sink)
	s := Segment{Seq: 2, Ack: 2, Flags: decap.ACK, Data: make([]byte, 1448)}
	b.SetBytes(1448)
	for b.Loop() {
		c.Packet(0, &s, 0, p, &sink)
		s.Seq += 1448
	}
}
