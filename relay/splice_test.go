// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpliceWhatIsLarge: a bypassed flow is spliced from when its reads fill a buffer, and no more once little comes.
func TestSpliceWhatIsLarge(t *testing.T) {
	r := newRig(t, Config{}, bypass)
	c, s := r.pair()
	talk := func() {
		t.Helper()
		for range 10 {
			send(t, c, "a request")
			expect(t, s, "a request")
		}
	}
	talk()
	if n := r.relay.Stats().Spliced; n != [2]uint64{} {
		t.Errorf("%d bytes of small messages were spliced", n)
	}
	large := random(rand.New(rand.NewPCG(1, 1)), 8<<20)
	go func() { _, _ = c.Write(large) }()
	got := make([]byte, len(large))
	if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, large) {
		t.Fatalf("not what was sent (error %v)", err)
	}
	before := r.relay.Stats().Spliced[client]
	if before < uint64(len(large)/2) {
		t.Errorf("%d bytes of %d were spliced", before, len(large))
	}
	talk()
	if n := r.relay.Stats().Spliced[client] - before; n > 5*uint64(len("a request")) {
		t.Errorf("%d bytes of small messages were spliced", n)
	}
	_ = c.CloseWrite()
	expectEOF(t, s)
	_ = s.Close()
	if e, want := r.end(), uint64(len(large)+20*len("a request")); e.flow.Bytes[client] != want {
		t.Errorf("%d bytes were counted, want %d", e.flow.Bytes[client], want)
	}
}

// TestPipeWithARest: what was left in a pipe comes to no other flow.
func TestPipeWithARest(t *testing.T) {
	p, err := getPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.n, err = unix.Write(p.w, []byte("a rest")); err != nil {
		t.Fatal(err)
	}
	p.free()
	if err := unix.Close(p.r); err != unix.EBADF {
		t.Errorf("closing it again: error %v", err)
	}
}

// TestSpliceThatBreaks: a flow that breaks with bytes in a pipe leaves the others as they are.
func TestSpliceThatBreaks(t *testing.T) {
	r := newRig(t, Config{}, bypass)
	c, s := r.pair()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = c.Write(make([]byte, 64<<20)) // more than the sockets and a pipe take
	}()
	var spliced uint64
	if !eventually(func() bool { // for as long as the server takes nothing
		before := spliced
		spliced = r.relay.Stats().Spliced[client]
		return spliced > 0 && spliced == before
	}) {
		t.Fatalf("%d bytes were spliced", spliced)
	}
	rst(t, s)
	r.wantEnded(EndedByServer)
	<-sent
	c, s = r.pair()
	want := random(rand.New(rand.NewPCG(1, 2)), 8<<20)
	go func() {
		_, _ = c.Write(want)
		_ = c.CloseWrite()
	}()
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the next flow has %d bytes that are not what was sent (error %v)", len(got), err)
	}
}
