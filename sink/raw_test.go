// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/race"
	"github.com/sightglass/sightglass/session"
)

// said is plaintext of a side.
func said(side handshake.Side, b []byte) *session.Event {
	return &session.Event{Kind: session.KindData, Side: side, Time: epoch, Flow: &session.Flow{ID: 1}, Data: b}
}

// TestRaw: short pieces and long ones come out as they went in, and nothing else does.
func TestRaw(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raw")
	out, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := NewRaw(out)
	var want []byte
	for i, n := range []int{1, 5, rawShort, rawShort + 1, 3, 16 << 10, 1 << 20, 0, rawShort, rawShort, 7} {
		b := bytes.Repeat([]byte{byte(i)}, n)
		want = append(want, b...)
		r.Event(said(handshake.Side(i%2), b))
		clear(b) // the event's bytes are its owner's again
	}
	for range rawBuffer / rawShort * 2 {
		b := bytes.Repeat([]byte{'x'}, rawShort-1)
		want = append(want, b...)
		r.Event(said(handshake.Client, b))
	}
	r.Event(&session.Event{Kind: session.KindSecrets, Flow: &session.Flow{ID: 1}, Data: []byte("a secret")})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	r.Event(said(handshake.Client, []byte("late")))
	if err := r.Close(); err != nil || r.Dropped() != 1 {
		t.Errorf("an event after Close: %d dropped; a second Close: %v", r.Dropped(), err)
	}
}

// writes keeps what is written, each by itself.
type writes [][]byte

func (w *writes) Write(b []byte) (int, error) {
	*w = append(*w, bytes.Clone(b))
	return len(b), nil
}

// TestRawLasting: data that stand together are one write, and nothing is taken of data after settle.
func TestRawLasting(t *testing.T) {
	room := make([]byte, 100<<10)
	for i := range room {
		room[i] = byte(i >> 8)
	}
	want := bytes.Clone(room)
	far := bytes.Repeat([]byte("far"), rawShort)
	var to writes
	r := NewRaw(NewOutput(&to, Options{FlushEvery: time.Hour}))
	settle := r.Lasting()
	give := func(b []byte) { r.Event(said(handshake.Server, b)) }
	give(room[:16<<10])
	give(room[16<<10 : 16<<10+1])
	give(nil)
	give(room[16<<10+1 : 40<<10])
	give(far) // stands elsewhere
	give(room[40<<10 : 60<<10])
	give(room[61<<10 : 80<<10]) // not right behind it
	settle()
	clear(room[:80<<10])
	give(room[80<<10 : 80<<10+7])
	settle()
	clear(room[:81<<10])
	give(room[81<<10 : 81<<10+5])
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	clear(room[:82<<10])
	settle()
	give(room[82<<10:])
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	expect := writes{
		want[:40<<10], far, want[40<<10 : 60<<10], want[61<<10 : 80<<10],
		slices.Concat(want[80<<10:80<<10+7], want[81<<10:81<<10+5]), want[82<<10:],
	}
	if !slices.EqualFunc(to, expect, bytes.Equal) {
		t.Errorf("%d writes, not the %d that should be", len(to), len(expect))
		for _, b := range to {
			t.Logf("%d bytes", len(b))
		}
	}
}

func TestRawFlushesByItself(t *testing.T) {
	from, to := io.Pipe()
	r := NewRaw(NewOutput(to, Options{FlushEvery: time.Millisecond}))
	for range 2 {
		r.Event(said(handshake.Client, []byte("hello")))
		buf := make([]byte, 5)
		if _, err := io.ReadFull(from, buf); err != nil || string(buf) != "hello" {
			t.Fatalf("read %q, %v", buf, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestRawFails: the first error stays, and what comes later counts as dropped.
func TestRawFails(t *testing.T) {
	r := NewRaw(NewOutput(&failing{left: 1}, Options{}))
	for range 10 {
		r.Event(said(handshake.Server, make([]byte, 2*rawShort)))
	}
	r.Event(said(handshake.Server, []byte("short")))
	if err := r.Close(); err == nil || r.Dropped() != 10 {
		t.Errorf("%d dropped, %v", r.Dropped(), err)
	}
}

func TestRawAllocatesNothing(t *testing.T) {
	r := NewRaw(NewOutput(io.Discard, Options{FlushEvery: time.Second}))
	defer r.Close()
	for _, n := range []int{100, 16 << 10} {
		e := said(handshake.Server, make([]byte, n))
		r.Event(e)
		if got := testing.AllocsPerRun(1000, func() { r.Event(e) }); got > 0 && !race.Enabled {
			t.Errorf("%v allocations for a piece of %d bytes", got, n)
		}
	}
}
