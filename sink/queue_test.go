// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sightglass/sightglass/session"
)

// lockedBuffer is a bytes.Buffer that a test may read while a sink writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var epoch = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

func secrets(flow uint64, t time.Time, line string) *session.Event {
	return &session.Event{
		Kind: session.KindSecrets, Time: t, Flow: &session.Flow{ID: flow}, Data: []byte(line),
	}
}

func TestKeyLogIsVisibleAfterFlush(t *testing.T) {
	var out lockedBuffer
	k := NewKeyLog(NewOutput(&out, Options{}))
	k.Event(secrets(1, epoch, "CLIENT_RANDOM a b\n"))
	k.Event(&session.Event{Kind: session.KindData, Flow: &session.Flow{ID: 1}, Data: []byte("no")})
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "CLIENT_RANDOM a b\n" {
		t.Errorf("after Flush: %q", got)
	}
	k.Event(secrets(2, epoch, "CLIENT_RANDOM c d\n"))
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "CLIENT_RANDOM a b\nCLIENT_RANDOM c d\n" {
		t.Errorf("after Close: %q", got)
	}
	k.Event(secrets(3, epoch, "late"))
	if k.Dropped() != 1 {
		t.Errorf("an event after Close: %d dropped, want 1", k.Dropped())
	}
	if err := k.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestOutputFlushesByItself(t *testing.T) {
	r, w := io.Pipe()
	k := NewKeyLog(NewOutput(w, Options{FlushEvery: time.Millisecond}))
	k.Event(secrets(1, epoch, "x\n"))
	buf := make([]byte, 2)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "x\n" {
		t.Errorf("read %q, %v", buf, err)
	}
	k.Close()
}

// gate is a writer that waits until it is opened.
type gate struct {
	open chan struct{}
	n    int
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.n += bytes.Count(p, []byte{'\n'})
	return len(p), nil
}

func TestSlowConsumerLosesAndCounts(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	k := NewKeyLog(NewOutput(g, Options{Buffer: 1}))
	const total = 40000
	line := string(bytes.Repeat([]byte{'x'}, 999)) + "\n"
	for i := range uint64(total) {
		k.Event(secrets(i, epoch, line)) // returns: nothing waits for the gate
	}
	close(g.open)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if k.Dropped() == 0 || k.Dropped()+uint64(g.n) != total {
		t.Errorf("%d written and %d dropped of %d", g.n, k.Dropped(), total)
	}
}

func TestLosslessWaits(t *testing.T) {
	for _, order := range []Order{OrderNone, OrderLive, OrderGiven} {
		g := &gate{open: make(chan struct{})}
		k := NewKeyLog(NewOutput(g, Options{Buffer: 1, Lossless: true, Order: order}))
		const workers, each = 8, 4000
		line := string(bytes.Repeat([]byte{'x'}, 999)) + "\n"
		var wg sync.WaitGroup
		for w := range uint64(workers) {
			wg.Go(func() {
				for range each {
					k.Event(secrets(w, epoch, line))
				}
			})
		}
		close(g.open)
		wg.Wait()
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if k.Dropped() != 0 || g.n != workers*each {
			t.Errorf("order %d: %d written, %d dropped, want %d and 0", order, g.n, k.Dropped(), workers*each)
		}
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

// What was taken and could not be written is dropped, too.
func TestFailedFlushCounts(t *testing.T) {
	k := NewKeyLog(NewOutput(&failing{}, Options{}))
	for i := range uint64(3) {
		k.Event(secrets(i, epoch, "a\n"))
	}
	if k.Flush() == nil || k.Dropped() != 3 {
		t.Errorf("Flush reports no error, or other than 3 dropped: %d", k.Dropped())
	}
	if k.Close() == nil || k.Dropped() != 3 {
		t.Errorf("Close reports no error, or other than 3 dropped: %d", k.Dropped())
	}
}

func TestFailureIsStickyAndNeverBlocks(t *testing.T) {
	var told []error
	k := NewKeyLog(NewOutput(&failing{left: 1}, Options{Lossless: true, Buffer: 1, Failed: func(err error) { told = append(told, err) }}))
	k.Event(secrets(1, epoch, "a\n"))
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
	big := string(make([]byte, 50000))
	for i := range uint64(1000) {
		k.Event(secrets(i, epoch, big))
	}
	if err := k.Flush(); err == nil {
		t.Error("Flush reports no error")
	}
	if k.Close() == nil || k.Dropped() != 1000 {
		t.Errorf("Close reports no error, or other than 1000 dropped: %d", k.Dropped())
	}
	if len(told) != 1 || !strings.Contains(told[0].Error(), "disk full") {
		t.Errorf("told of %v", told)
	}
}

// TestOrderGiven gives the records of many flows and gets them in that order, whatever their times.
func TestOrderGiven(t *testing.T) {
	var out lockedBuffer
	var want bytes.Buffer
	k := NewKeyLog(NewOutput(&out, Options{Order: OrderGiven, Lossless: true}))
	for i := range 20000 {
		line := fmt.Sprintf("%d\n", i)
		want.WriteString(line)
		k.Event(secrets(uint64(i*7%20), epoch.Add(time.Duration(i*31%100)*time.Second), line))
	}
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() {
		t.Error("after Flush: output differs")
	}
	k.Event(secrets(1, epoch, "last\n"))
	k.Close()
	if out.String() != want.String()+"last\n" {
		t.Error("after Close: output differs")
	}
}

func TestOrderLiveSortsWhatComesTogether(t *testing.T) {
	var out lockedBuffer
	k := NewKeyLog(NewOutput(&out, Options{Order: OrderLive}))
	for i := range 100 {
		k.Event(secrets(uint64(i), epoch.Add(time.Duration(99-i)), fmt.Sprintf("%02d\n", 99-i)))
	}
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
	k.Close()
	for i, line := range bytes.Fields([]byte(out.String())) {
		if want := fmt.Sprintf("%02d", i); string(line) != want {
			t.Fatalf("line %d is %s", i, line)
		}
	}
}

func TestQueueBoundsHeldRecords(t *testing.T) {
	var out lockedBuffer
	k := NewKeyLog(NewOutput(&out, Options{Order: OrderLive, Lossless: true, Buffer: 1, FlushEvery: time.Second}))
	line := string(bytes.Repeat([]byte{'x'}, 1000))
	for i := range uint64(20000) { // far more than the buffer
		k.Event(secrets(i, epoch.Add(time.Duration(i)), line))
	}
	if n := int(k.q.made.Load()); n > k.q.limit {
		t.Errorf("%d chunks, limit %d", n, k.q.limit)
	}
	k.Close()
	if len(out.String()) != 20000*1000 {
		t.Errorf("%d bytes written", len(out.String()))
	}
}

func TestRecordHeap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h recordHeap
	for range 50 {
		for i := range 200 {
			h.push(held{time: int64(r.IntN(10)), flow: uint64(r.IntN(3)), seq: uint64(i)})
		}
		last := h.pop()
		for len(h) > 0 {
			next := h.pop()
			if next.before(&last) {
				t.Fatalf("%v after %v", next, last)
			}
			last = next
		}
	}
}

func TestRecordLargerThanChunk(t *testing.T) {
	var out lockedBuffer
	k := NewKeyLog(NewOutput(&out, Options{Lossless: true}))
	big := bytes.Repeat([]byte("0123456789abcdef"), 3*chunkSize/16)
	k.Event(secrets(1, epoch, "a\n"))
	k.Event(secrets(1, epoch, string(big)))
	k.Event(secrets(1, epoch, "b\n"))
	k.Close()
	if got := out.String(); got != "a\n"+string(big)+"b\n" {
		t.Errorf("%d bytes written, differing", len(got))
	}
}

func TestPutAllocatesNothing(t *testing.T) {
	for _, order := range []Order{OrderNone, OrderLive} {
		k := NewKeyLog(NewOutput(io.Discard, Options{Lossless: true, Order: order, FlushEvery: time.Second, Buffer: 1}))
		e := secrets(7, epoch, string(make([]byte, 1400)))
		fan := NewFan(k, k)
		for range 20000 { // chunks and heap grow to their size first
			fan.Event(e)
		}
		if n := testing.AllocsPerRun(5000, func() { fan.Event(e) }); n != 0 {
			t.Errorf("order %d: %v allocations an event", order, n)
		}
		k.Close()
	}
}

// TestRecordsOfAChunk has records of all sizes, none too.
func TestRecordsOfAChunk(t *testing.T) {
	var ch chunk
	for i, text := range []string{"", "abc", "", "d"} {
		ch.buf = append(ch.buf, text...)
		ch.frames = append(ch.frames, frame{int64(i), 2, 3, uint32(len(ch.buf))})
		r := ch.record(i)
		if string(r.data) != text || r.time != int64(i) || r.flow != 2 || r.tag != 3 {
			t.Errorf("record %d: %+v", i, r)
		}
	}
}

func BenchmarkQueue(b *testing.B) {
	for _, n := range []int{100, 1460} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			k := NewKeyLog(NewOutput(io.Discard, Options{Lossless: true}))
			defer k.Close()
			b.SetBytes(int64(n))
			b.ReportAllocs()
			var id uint64
			var mu sync.Mutex
			b.RunParallel(func(pb *testing.PB) {
				mu.Lock()
				id++
				e := secrets(id, epoch, string(make([]byte, n)))
				mu.Unlock()
				for pb.Next() {
					k.Event(e)
				}
			})
		})
	}
}
