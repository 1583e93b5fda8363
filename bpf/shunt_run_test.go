// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/quick"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const wholePacket = ^uint32(0)

// newShunt makes a Shunt until the test ends.
func newShunt(t *testing.T, flows int, options ...ShuntOption) *Shunt {
	t.Helper()
	s, err := NewShunt(flows, options...)
	supported(t, err)
	t.Cleanup(func() { ok(t, s.Close()) })
	return s
}

// A shuntBench runs a shunting filter over packets.
type shuntBench struct{ *Shunt }

func (b *shuntBench) run(t *testing.T, data []byte) uint32 {
	t.Helper()
	result, err := b.programs[""].Run(&ebpf.RunOptions{Data: data})
	ok(t, err)
	return result
}

func (b *shuntBench) expect(t *testing.T, p packet, dropped bool) {
	t.Helper()
	if got := b.run(t, p.bytes(t)); got != wholePacket && !dropped || got != 0 && dropped {
		t.Errorf("%v to %v, %s: accepted %d bytes, dropped must be %v", p.from, p.to, p.flags, got, dropped)
	}
}

func TestShuntProgram(t *testing.T) {
	b := &shuntBench{newShunt(t, 1024)}
	t.Run("stacks", b.stacks)
	t.Run("truncated", b.truncated)
	t.Run("others", b.others)
	t.Run("counts", b.counts)
	t.Run("restart", b.restart)
	t.Run("idle", b.idle)
	t.Run("remove", b.remove)
	t.Run("filter", b.filter)
	t.Run("filter then shunt", b.filterThenShunt)
	t.Run("full", b.full)
}

func (b *shuntBench) add(t *testing.T) {
	t.Helper()
	ok(t, b.Add(client4, server4))
	ok(t, b.Add(server6, client6))
}

func (b *shuntBench) stacks(t *testing.T) {
	b.add(t)
	for _, s := range stacks {
		t.Run(s.name, func(t *testing.T) {
			for _, flags := range []string{"A", "PA", "FA", "R", ""} {
				b.expect(t, s.on(flags), s.want == isTCP)
				b.expect(t, s.on(flags).reversed(), s.want == isTCP)
			}
		})
	}
}

// truncated cuts every stack at every byte: what has not its headers goes to the reader.
func (b *shuntBench) truncated(t *testing.T) {
	b.add(t)
	for _, s := range stacks {
		t.Run(s.name, func(t *testing.T) {
			p := s.on("A")
			data, end := p.bytes(t), p.headers()
			for n := 14; n <= min(len(data), end+40); n++ {
				got, err := b.programs[""].Run(&ebpf.RunOptions{Data: data[:n]})
				want := wholePacket
				if s.want == isTCP && n >= end {
					want = 0
				}
				switch {
				case errors.Is(err, unix.EINVAL) && n < 14+s.network() && len(p.tags) == 0:
					// Some kernels do not run an IP header that is cut; behind a tag they do.
				case err != nil:
					t.Fatalf("cut to %d bytes: %v", n, err)
				case got != want:
					t.Errorf("cut to %d bytes: accepted %d, want %d", n, got, want)
				}
			}
		})
	}
}

// others differ from a shunted flow in one thing each.
func (b *shuntBench) others(t *testing.T) {
	b.add(t)
	other := func(a netip.AddrPort, port int) netip.AddrPort {
		return netip.AddrPortFrom(a.Addr(), uint16(int(a.Port())+port))
	}
	for _, ends := range [][2]netip.AddrPort{
		{other(client4, 1), server4},
		{client4, other(server4, 1)},
		{netip.AddrPortFrom(client4.Addr().Next(), client4.Port()), server4},
		{client4, netip.AddrPortFrom(server4.Addr().Next(), server4.Port())},
		{netip.AddrPortFrom(client4.Addr(), server4.Port()), netip.AddrPortFrom(server4.Addr(), client4.Port())},
		{other(client6, 1), server6},
		{netip.AddrPortFrom(client6.Addr().Next(), client6.Port()), server6},
	} {
		p := packet{from: ends[0], to: ends[1], flags: "A"}
		b.expect(t, p, false)
		b.expect(t, p.reversed(), false)
	}
}

func (b *shuntBench) counts(t *testing.T) {
	b.add(t)
	before, err := b.Stats()
	ok(t, err)
	var bytes uint64
	for i := range 10 {
		p := stacks[0].on("A")
		p.payload = make([]byte, 100+i)
		if i%2 == 1 {
			p = p.reversed()
		}
		b.expect(t, p, true)
		bytes += uint64(len(p.bytes(t)) - 14) // a test run has taken the Ethernet header off
	}
	count, found, err := b.Flow(server4, client4)
	ok(t, err)
	if want := (Count{10, bytes}); !found || count != want {
		t.Errorf("the flow's count is %v, %v, want %v", count, found, want)
	}
	after, err := b.Stats()
	ok(t, err)
	if got, want := after.Shunted.Bytes-before.Shunted.Bytes, bytes; got != want || after.Shunted.Packets != before.Shunted.Packets+10 {
		t.Errorf("before %+v, after %+v, want %d bytes more", before, after, want)
	}
	// Added again, it begins at zero.
	b.add(t)
	if count, _, _ := b.Flow(server4, client4); count != (Count{}) {
		t.Errorf("added again, the flow's count is %v", count)
	}
}

func (b *shuntBench) restart(t *testing.T) {
	for i, flags := range []string{"S", "SA"} {
		for _, s := range []stack{stacks[0], {v6: true, wrap: func(*packet) {}}} {
			b.add(t)
			begun, err := b.Stats()
			ok(t, err)
			syn := s.on(flags)
			if i == 1 {
				syn = syn.reversed()
			}
			b.expect(t, s.on("A"), true)
			b.expect(t, syn, false)
			b.expect(t, s.on("A"), false)
			b.expect(t, s.on("A").reversed(), false)
			b.expect(t, syn, false)
			st, err := b.Stats()
			ok(t, err)
			if st.Restarted != begun.Restarted+1 {
				t.Errorf("%s: %d flows restarted, %d before", flags, st.Restarted, begun.Restarted)
			}
		}
	}
}

// idle has a flow that was last seen longer ago than flows are kept.
func (b *shuntBench) idle(t *testing.T) {
	key, err := keyOf(client4, server4)
	ok(t, err)
	now, err := monotonic()
	ok(t, err)
	begun, err := b.Stats()
	ok(t, err)
	put := func(age time.Duration) { ok(t, b.maps.Flows.Put(key, shuntFlow{Last: now - uint64(age)})) }
	put(defaultIdle - time.Minute)
	b.expect(t, stacks[0].on("A"), true)
	var flow shuntFlow
	ok(t, b.maps.Flows.Lookup(key, &flow))
	if flow.Last < now {
		t.Error("a packet does not keep its flow alive")
	}
	put(defaultIdle + time.Second)
	b.expect(t, stacks[0].on("A"), false)
	if _, found, _ := b.Flow(client4, server4); found {
		t.Error("the flow is still there")
	}
	st, err := b.Stats()
	ok(t, err)
	if st.Expired != begun.Expired+1 {
		t.Errorf("%d flows expired, %d before", st.Expired, begun.Expired)
	}
}

func (b *shuntBench) remove(t *testing.T) {
	b.add(t)
	b.expect(t, stacks[0].on("A"), true)
	count, found, err := b.Remove(client4, server4)
	if err != nil || !found || count.Packets != 1 {
		t.Errorf("got %v, %v, %v", count, found, err)
	}
	b.expect(t, stacks[0].on("A"), false)
	if count, found, err := b.Remove(client4, server4); err != nil || found {
		t.Errorf("the second time got %v, %v, %v", count, found, err)
	}
}

// full adds more flows than there is room for: the newest are there, and never more than there may be.
func (b *shuntBench) full(t *testing.T) {
	const flows = 3000
	end := func(i int) netip.AddrPort { return netip.AddrPortFrom(client4.Addr(), uint16(i+1)) }
	for i := range flows {
		ok(t, b.Add(end(i), server4))
	}
	var n int
	var key shuntKey
	var value shuntFlow
	for all := b.maps.Flows.Iterate(); all.Next(&key, &value); {
		n++
	}
	if n > 1024 || n < 256 {
		t.Errorf("%d flows in a table of 1024", n)
	}
	if _, found, err := b.Flow(end(flows-1), server4); err != nil || !found {
		t.Errorf("the newest flow is not there: %v", err)
	}
}

// TestShuntEnds lets the ends of flows through, and nothing else of them.
func TestShuntEnds(t *testing.T) {
	b := &shuntBench{newShunt(t, 16, ShuntPassEnds())}
	b.add(t)
	for _, s := range []stack{stacks[0], {v6: true, wrap: func(*packet) {}}} {
		b.expect(t, s.on("A"), true)
		b.expect(t, s.on("FA"), false)
		b.expect(t, s.on("A"), true)
		b.expect(t, s.on("R").reversed(), false)
		b.expect(t, s.on("A").reversed(), true)
	}
	if count, _, _ := b.Flow(client4, server4); count.Packets != 3 {
		t.Errorf("counted %v", count)
	}
}

func TestShuntKey(t *testing.T) {
	same := func(a, b [4]byte, p, q uint16, c, d [16]byte) bool {
		v4a, v4b := netip.AddrPortFrom(netip.AddrFrom4(a), p), netip.AddrPortFrom(netip.AddrFrom4(b), q)
		mapped := netip.AddrPortFrom(netip.AddrFrom16(v4a.Addr().As16()), p)
		k1, e1 := keyOf(v4a, v4b)
		k2, e2 := keyOf(v4b, mapped)
		if e1 != nil || e2 != nil || k1 != k2 {
			return false
		}
		v6a, v6b := netip.AddrPortFrom(netip.AddrFrom16(c), p), netip.AddrPortFrom(netip.AddrFrom16(d), q)
		k1, e1 = keyOf(v6a, v6b)
		k2, e2 = keyOf(v6b, v6a)
		return e1 == nil && e2 == nil && k1 == k2 || v6a.Addr().Is4In6() != v6b.Addr().Is4In6()
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
	for _, ends := range [][2]netip.AddrPort{{client4, server6}, {{}, server4}, {client6, {}}} {
		if k, err := keyOf(ends[0], ends[1]); err == nil {
			t.Errorf("%v and %v have the key %v", ends[0], ends[1], k)
		}
	}
}

func TestShuntBounds(t *testing.T) {
	for _, flows := range []int{-1, 0, 1<<24 + 1} {
		if _, err := NewShunt(flows); err == nil {
			t.Errorf("made a table of %d flows", flows)
		}
	}
	if _, err := NewShunt(1, ShuntIdle(0)); err == nil {
		t.Error("made a table that keeps nothing")
	}
}

// BenchmarkShunt is what a packet costs that is dropped, and one that is not.
func BenchmarkShunt(b *testing.B) {
	s, err := NewShunt(1024)
	supported(b, err)
	defer func() { _ = s.Close() }()
	if err := s.Add(client4, server4); err != nil {
		b.Fatal(err)
	}
	for name, p := range map[string]packet{"shunted": stacks[0].on("A"), "passed": stacks[0].on("A").reversed()} {
		if name == "passed" {
			p.to = netip.AddrPortFrom(p.to.Addr(), 1)
		}
		data := p.bytes(b)
		b.Run(fmt.Sprint("packet=", name), func(b *testing.B) {
			_, each, err := s.programs[""].Benchmark(data, b.N, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(each.Nanoseconds()), "ns/op")
		})
	}
}
