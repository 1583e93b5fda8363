// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"io"
	"path/filepath"
	"testing"
	"time"

	"os"

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
