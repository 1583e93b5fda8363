// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/capture/pcapng"
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/session"
)

func TestDecrypt(t *testing.T) {
	for _, addr := range [][2]string{{"10.0.0.1:40000", "10.0.0.2:8765"}, {"[2001:db8::1]:40000", "[2001:db8::2]:443"}} {
		w := newWire(addr[0], addr[1]).play(talk(forgeOptions(suiteGCM), 100_000))
		s, stats := decrypt(t, Options{}, pcapOf(t, w.out))
		if s.said(1, handshake.Client) != "GET / HTTP/1.1\r\n\r\n" || s.said(1, handshake.Server) != string(numbered(100_000)) {
			t.Errorf("%q, %d bytes", s.said(1, handshake.Client), len(s.said(1, handshake.Server)))
		}
		f := s.flow(1)
		if f.Outcome != session.OutcomeRead || f.Client != netip.MustParseAddrPort(addr[0]) || f.Server != netip.MustParseAddrPort(addr[1]) || f.NoSYN {
			t.Errorf("%+v", f)
		}
		if !f.Start.Equal(w.out[0].time) || !f.End.Equal(w.out[len(w.out)-2].time) {
			t.Errorf("from %v to %v", f.Start, f.End)
		}
		if stats.Packets != uint64(len(w.out)) || stats.Connections != 1 || stats.Flows != 1 || stats.Expired != 0 {
			t.Errorf("%+v", stats)
		}
	}
}

// TestLargestPackets has packets as large as they may be stand between those of a flow.
func TestLargestPackets(t *testing.T) {
	w := newWire("10.0.0.1:40000", "10.0.0.2:443").play(talk(forgeOptions(suiteGCM), 400_000))
	var b bytes.Buffer
	out := newPcapWriter(&b, linkRaw)
	large := 0
	for i := range w.out {
		out.packets(w.out[i : i+1])
		if i%20 == 0 {
			out.write(w.out[i].time, make([]byte, pcapng.MaxPacket-i))
			large++
		}
	}
	out.w.Flush()
	path := filepath.Join(t.TempDir(), "large.pcap")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	s, stats := decrypt(t, Options{}, path)
	if s.said(1, handshake.Server) != string(numbered(400_000)) || stats.Packets != uint64(len(w.out)+large) {
		t.Errorf("%d bytes, %d packets", len(s.said(1, handshake.Server)), stats.Packets)
	}
}

// crowd is a capture with many kinds of flow at once.
func crowd(rng *rand.Rand) []packet {
	var wires []*wire
	add := func(make func(w *wire)) {
		client, server := hosts(len(wires))
		w := newWire(client, server)
		w.mss = 200 + rng.IntN(1300)
		make(w)
		wires = append(wires, w)
	}
	for i := range 40 {
		o := forgeOptions([]uint16{suiteCBC, suiteGCM}[i%2])
		o.SessionID = []byte(fmt.Sprintf("session %24d", i))
		o.Ticket = []byte(fmt.Sprintf("a ticket for connection %d", i))
		full := talk(o, rng.IntN(30_000))
		add(func(w *wire) { w.play(full) })
		if i%3 == 0 {
			r := o
			r.Resume = full.State(i%2 == 0)
			resumed := talk(r, rng.IntN(5000))
			add(func(w *wire) { w.play(resumed) })
		}
		o = forgeOptions(suiteGCM)
		switch i % 8 {
		case 1: // no TLS
			add(func(w *wire) {
				w.open().send(handshake.Client, []byte("HELLO\r\n"))
				w.send(handshake.Server, numbered(3000))
				w.close()
			})
		case 2: // reset
			add(func(w *wire) {
				w.play(talk(o, 2000))
				w.out = w.out[:len(w.out)-3]
				w.add(handshake.Client, flagRST|flagACK, nil)
			})
		case 3: // loses packets
			add(func(w *wire) {
				w.play(talk(o, 60_000))
				for range 5 {
					at := 10 + rng.IntN(len(w.out)-10)
					w.out = append(w.out[:at], w.out[at+1:]...)
				}
			})
		case 4: // only its middle
			add(func(w *wire) {
				w.play(talk(o, 20_000))
				w.out = w.out[len(w.out)/3 : len(w.out)*2/3]
			})
		case 5: // out of order
			add(func(w *wire) {
				w.play(talk(o, 20_000))
				for range 20 {
					at := rng.IntN(len(w.out) - 1)
					a, b := &w.out[at], &w.out[at+1]
					a.time, b.time = b.time, a.time
				}
			})
		case 6: // one direction
			add(func(w *wire) {
				w.play(talk(o, 20_000))
				var kept []packet
				for _, p := range w.out {
					if p.side == handshake.Client {
						kept = append(kept, p)
					}
				}
				w.out = kept
			})
		case 7: // a scan
			add(func(w *wire) { w.add(handshake.Client, flagSYN, nil) })
		}
	}
	packets := interleave(rng, wires, 300*time.Microsecond)
	// Then silence, in which flows expire, and the same ports again.
	for i, w := range wires[:5] {
		again := newWire(w.addr[0].String(), w.addr[1].String())
		again.next = [2]uint32{77777, 88888}
		again.now = again.now.Add(3 * time.Hour).Add(time.Duration(i) * time.Second)
		packets = append(packets, again.play(talk(forgeOptions(suiteGCM), 100)).out...)
	}
	return packets
}

// The same events come in the same order, whatever the number of workers.
func TestWorkersMakeNoDifference(t *testing.T) {
	path := pcapOf(t, crowd(rand.New(rand.NewPCG(1, 2))))
	for name, bounds := range map[string]Bounds{
		"default": {}, "under pressure": {Held: 4000, Flows: 5, Idle: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			want, stats := decrypt(t, Options{Workers: 1, Bounds: bounds}, path)
			for _, workers := range []int{2, 3, 16} {
				got, gotStats := decrypt(t, Options{Workers: workers, Bounds: bounds}, path)
				sameLines(t, fmt.Sprintf("%d workers", workers), got.lines, want.lines)
				if gotStats.Flows != stats.Flows || gotStats.Streams != stats.Streams || gotStats.Expired != stats.Expired {
					t.Errorf("%d workers: %+v, want %+v", workers, gotStats, stats)
				}
			}
			if name != "default" {
				return
			}
			resumed := 0
			for _, f := range want.flows {
				if f.Resumed != session.ResumedNot {
					resumed++
					if f.Outcome != session.OutcomeRead {
						t.Errorf("resumed flow %d: %v %v %s", f.ID, f.Outcome, f.Cause, f.Detail)
					}
				}
			}
			if resumed != 14 {
				t.Errorf("%d flows were resumed", resumed)
			}
		})
	}
}

// Flows of which sessions are resumed in other flows are read by any number of workers.
func TestResumedElsewhere(t *testing.T) {
	o := forgeOptions(suiteGCM)
	var wires []*wire
	for i := range 30 {
		o.SessionID = []byte(fmt.Sprintf("session %24d", i))
		o.Ticket = []byte(fmt.Sprint("ticket ", i))
		full := talk(o, 100)
		for range 3 {
			client, server := hosts(len(wires))
			w := newWire(client, server)
			if len(wires)%3 == 0 {
				w.play(full)
			} else {
				r := o
				r.Resume = full.State(i%2 == 0)
				w.play(talk(r, 100))
			}
			// One after the other, closely.
			if len(wires) > 0 {
				last := wires[len(wires)-1].out
				shift := last[len(last)-1].time.Sub(w.out[0].time) + time.Microsecond
				for j := range w.out {
					w.out[j].time = w.out[j].time.Add(shift)
				}
			}
			wires = append(wires, w)
		}
	}
	path := pcapOf(t, interleave(rand.New(rand.NewPCG(1, 1)), wires, 0))
	for range 5 {
		s, _ := decrypt(t, Options{Workers: 8}, path)
		for _, f := range s.flows {
			if f.Outcome != session.OutcomeRead || f.Records[0] == 0 {
				t.Fatalf("flow %d: %v %v %s", f.ID, f.Outcome, f.Cause, f.Detail)
			}
		}
	}
}

// Records that grow when they are decompressed fill batches many times over.
func TestCompressedRecords(t *testing.T) {
	var wires []*wire
	const size = 2 << 20
	for i := range 6 {
		o := forgeOptions(suiteCBC)
		o.Deflate = true
		client, server := hosts(i)
		c := forge.New(o)
		c.Send(handshake.Server, make([]byte, size))
		wires = append(wires, newWire(client, server).play(c))
	}
	path := pcapOf(t, interleave(rand.New(rand.NewPCG(1, 1)), wires, time.Microsecond))
	if info, err := os.Stat(path); err != nil || info.Size() > batchBytes {
		t.Fatalf("the capture is not small: %v", err)
	}
	want, _ := decrypt(t, Options{Workers: 1}, path)
	for id := range uint64(6) {
		if n := len(want.said(id+1, handshake.Server)); n != size {
			t.Errorf("flow %d: %d bytes", id+1, n)
		}
	}
	for _, workers := range []int{2, 5} {
		got, _ := decrypt(t, Options{Workers: workers}, path)
		sameLines(t, fmt.Sprintf("%d workers", workers), got.lines, want.lines)
	}
}

func TestClientWithoutSYN(t *testing.T) {
	for name, tt := range map[string]struct {
		client, server string
		drop           func(p packet) bool
	}{
		"ClientHello first":      {"10.0.0.1:443", "10.0.0.2:40000", func(packet) bool { return false }},
		"ServerHello first":      {"10.0.0.1:443", "10.0.0.2:40000", func(p packet) bool { return p.side == handshake.Client }},
		"nothing but the server": {"10.0.0.1:40000", "10.0.0.2:443", func(p packet) bool { return p.side == handshake.Client }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(tt.client, tt.server).play(talk(forgeOptions(suiteGCM), 100))
			var out []packet
			for _, p := range w.out[3:] {
				if !tt.drop(p) {
					out = append(out, p)
				}
			}
			s, _ := decrypt(t, Options{}, pcapOf(t, out))
			if f := s.flow(1); f.Client.String() != tt.client || !f.NoSYN {
				t.Errorf("client %v, NoSYN %v", f.Client, f.NoSYN)
			}
		})
	}
	w := newWire("10.0.0.1:443", "10.0.0.2:40000")
	w.add(handshake.Client, flagSYN, nil)
	w.add(handshake.Server, flagSYN|flagACK, nil)
	w.send(handshake.Server, []byte("220 hello\r\n"))
	for _, part := range [][]packet{w.out, w.out[1:]} {
		s, _ := decrypt(t, Options{}, pcapOf(t, part))
		if f := s.flow(1); f.Client.String() != "10.0.0.1:443" || f.NoSYN {
			t.Errorf("client %v, NoSYN %v", f.Client, f.NoSYN)
		}
	}
}

// A connection that takes another one's ports is one of its own.
func TestReusedPorts(t *testing.T) {
	var out []packet
	for i := range 4 {
		w := newWire("10.0.0.1:40000", "10.0.0.2:443")
		w.next = [2]uint32{uint32(i) * 1_000_000, uint32(i) * 5_000_000}
		w.now = w.now.Add(time.Duration(i) * time.Second)
		w.play(talk(forgeOptions(suiteGCM), 100+i))
		if i%2 == 0 {
			w.out = w.out[:len(w.out)-3] // its end was not captured
		}
		out = append(out, w.out...)
	}
	s, _ := decrypt(t, Options{}, pcapOf(t, out))
	if len(s.flows) != 4 {
		t.Fatalf("%d flows", len(s.flows))
	}
	for i, f := range s.flows {
		if f.Outcome != session.OutcomeRead || len(s.said(f.ID, handshake.Server)) != 100+i {
			t.Errorf("flow %d: %v %v, %d bytes", f.ID, f.Outcome, f.Detail, len(s.said(f.ID, handshake.Server)))
		}
	}
}

// One packet with a time far off neither ends flows nor moves the others' times.
func TestTimeFarOff(t *testing.T) {
	w := newWire("10.0.0.1:40000", "10.0.0.2:443").play(talk(forgeOptions(suiteGCM), 100))
	w.out[1].time = w.out[1].time.Add(40 * 365 * 24 * time.Hour)
	s, stats := decrypt(t, Options{}, pcapOf(t, w.out))
	if len(s.flows) != 1 || s.flows[0].Outcome != session.OutcomeRead || stats.Expired != 0 {
		t.Errorf("%d flows, %+v", len(s.flows), stats)
	}
	if stats.Last.After(w.out[0].time.Add(time.Hour)) {
		t.Errorf("last packet at %v", stats.Last)
	}
}

func TestFiles(t *testing.T) {
	w := newWire("10.0.0.1:40000", "10.0.0.2:443").play(talk(forgeOptions(suiteGCM), 50_000))
	whole := pcapBytes(w.out)
	write := func(t *testing.T, name string, b []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("rotated set", func(t *testing.T) {
		a, b := w.out[:20], w.out[20:]
		s, _ := decrypt(t, Options{}, pcapOf(t, b), pcapOf(t, a))
		if s.said(1, handshake.Server) != string(numbered(50_000)) {
			t.Error("the flow that goes on in the next file was not read")
		}
	})
	t.Run("cut", func(t *testing.T) {
		s, stats := decrypt(t, Options{}, write(t, "x", whole[:len(whole)/2]))
		if len(stats.Warnings) != 1 || !errors.Is(stats.Warnings[0], pcapng.ErrCut) || !strings.Contains(stats.Warnings[0].Error(), "offset") {
			t.Errorf("warnings %v", stats.Warnings)
		}
		if len(s.said(1, handshake.Server)) < 10_000 || s.flow(1).Outcome != session.OutcomeRead {
			t.Errorf("%d bytes, %v", len(s.said(1, handshake.Server)), s.flow(1).Cause)
		}
	})
	t.Run("corrupt", func(t *testing.T) {
		b := append(whole[:20_000:20_000], make([]byte, 16)...)
		b = append(b, whole[20_000:]...)
		for i := range b[20_000:20_016] {
			b[20_000+i] = 0xff
		}
		s, stats, err := tryDecrypt(t, Options{}, write(t, "x", b))
		if !errors.Is(err, pcapng.ErrCorrupt) || len(stats.Warnings) != 0 || s.flow(1).ID != 1 {
			t.Errorf("%v, %v", err, stats.Warnings)
		}
	})
	t.Run("no capture", func(t *testing.T) {
		s, _, err := tryDecrypt(t, Options{}, write(t, "x", whole), write(t, "y.txt", []byte("this is a letter")))
		if !errors.Is(err, pcapng.ErrNotCapture) || len(s.lines) > 0 || !strings.Contains(err.Error(), "y.txt") {
			t.Errorf("%v, %d events", err, len(s.lines))
		}
	})
	t.Run("missing", func(t *testing.T) {
		if _, _, err := tryDecrypt(t, Options{}, "missing.pcap"); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		if _, _, err := tryDecrypt(t, Options{}); err == nil {
			t.Error("no file is no error")
		}
	})
	t.Run("standard input", func(t *testing.T) {
		r, pipe, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func(f *os.File) { os.Stdin = f }(os.Stdin)
		os.Stdin = r
		go func() {
			pipe.Write(whole)
			pipe.Close()
		}()
		s, _ := decrypt(t, Options{}, "-")
		if s.said(1, handshake.Server) != string(numbered(50_000)) {
			t.Errorf("%d bytes", len(s.said(1, handshake.Server)))
		}
	})
	t.Run("unknown link type", func(t *testing.T) {
		b := append([]byte(nil), whole...)
		b[20] = 6
		_, stats := decrypt(t, Options{}, write(t, "x", b))
		if stats.Links[6] != uint64(len(w.out)) {
			t.Errorf("%+v", stats)
		}
	})
}

// lasting keeps the data of events as they are, and a copy of each.
type lasting struct {
	given, copies [][]byte
}

func (l *lasting) Event(e *session.Event) {
	if e.Kind == session.KindData {
		l.given, l.copies = append(l.given, e.Data), append(l.copies, bytes.Clone(e.Data))
	}
}

// TestSettle: data last until Settle, and all are settled, whether events fill many batches or one of them many times over.
func TestSettle(t *testing.T) {
	const size, flows = 1 << 20, 6
	for _, deflate := range []bool{false, true} {
		var wires []*wire
		for i := range flows {
			o := forgeOptions(suiteCBC)
			o.Deflate = deflate
			c := forge.New(o)
			for j := range 64 {
				c.Send(handshake.Server, bytes.Repeat([]byte{byte(i*64 + j)}, size/64))
			}
			client, server := hosts(i)
			wires = append(wires, newWire(client, server).open().play(c).close())
		}
		path := pcapOf(t, interleave(rand.New(rand.NewPCG(7, 7)), wires, time.Millisecond))
		for workers := 1; workers <= 3; workers++ {
			name := fmt.Sprintf("deflate %v, %d workers", deflate, workers)
			l, times, settled := new(lasting), 0, 0
			o := Options{Files: []string{path}, Session: config(t, l), Workers: workers}
			o.Settle = func() {
				for i, b := range l.given {
					if !bytes.Equal(b, l.copies[i]) {
						t.Fatalf("%s: data were another's before they were settled", name)
					}
					settled += len(b)
				}
				l.given, l.copies, times = nil, nil, times+1
			}
			if _, err := Decrypt(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if len(l.given) > 0 || times < 2 || settled != flows*size {
				t.Errorf("%s: settled %d times, %d bytes, %d events not", name, times, settled, len(l.given))
			}
		}
	}
}

func TestProgress(t *testing.T) {
	path := pcapOf(t, newWire("10.0.0.1:40000", "10.0.0.2:443").play(talk(forgeOptions(suiteGCM), 3_000_000)).out)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	last, calls := int64(0), 0
	decrypt(t, Options{Progress: func(read, total int64) {
		if read < last || read > total || total != info.Size() {
			t.Errorf("%d of %d after %d", read, total, last)
		}
		last = read
		calls++
	}}, path)
	if last != info.Size() || calls < 5 {
		t.Errorf("%d of %d bytes in %d calls", last, info.Size(), calls)
	}
}

// When the context ends, flows end and events are whole.
func TestCancelled(t *testing.T) {
	path := pcapOf(t, newWire("10.0.0.1:40000", "10.0.0.2:443").play(talk(forgeOptions(suiteGCM), 12_000_000)).out)
	ctx, cancel := context.WithCancel(context.Background())
	s := newStory(t)
	cfg := config(t, s)
	stats, err := Decrypt(ctx, Options{Files: []string{path}, Session: cfg, Progress: func(int64, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) || len(s.flows) != 1 || len(s.open) != 0 {
		t.Errorf("%v, %d flows ended", err, len(s.flows))
	}
	if n := len(s.said(1, handshake.Server)); n == 0 || n >= 12_000_000 || stats.Packets == 0 {
		t.Errorf("%d bytes", n)
	}
}
