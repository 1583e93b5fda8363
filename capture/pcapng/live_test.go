// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func TestLive(t *testing.T) {
	l := NewLive(time.Hour, 1<<20)
	a, b := l.Interface("eth0", 1, 65535), l.Interface("wg0", 101, 1000)
	l.Packet(b, 1_700_000_000_123_456_789, 9, []byte("def"))
	l.Packet(a, 5, 3, []byte("a"), []byte("bc"))
	l.Secrets([]byte("CLIENT_RANDOM 00 11\n"))
	done := make(chan struct{})
	close(done)
	var out bytes.Buffer
	if err := l.Run(&out, done); err != nil {
		t.Fatal(err)
	}
	// The secrets come first, though they came last.
	r, err := NewReader("live", bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	secrets := ""
	r.Secrets = func(kind uint32, b []byte) { secrets += string(b) }
	var p Packet
	if err := r.Next(&p); err != ErrFill {
		t.Fatal(err)
	}
	r.Fill(make([]byte, MinBuffer), true)
	if err := r.Next(&p); err != nil || secrets != "CLIENT_RANDOM 00 11\n" {
		t.Errorf("%v, secrets before the first packet: %q", err, secrets)
	}
	packets, _, err := read(t, &out, true)
	if err != nil {
		t.Fatal(err)
	}
	samePackets(t, packets, []Packet{
		{Data: []byte("def"), Length: 9, Time: 1_700_000_000_123_456_789, Link: 101, Interface: "wg0"},
		{Data: []byte("abc"), Length: 3, Time: 5, Link: 1, Interface: "eth0"},
	})
}

// gate is a writer that says what it was given.
type gate chan []byte

func (g gate) Write(b []byte) (int, error) {
	g <- bytes.Clone(b)
	return len(b), nil
}

// Secrets are written at once, packets after their time.
func TestLiveHolds(t *testing.T) {
	l := NewLive(200*time.Millisecond, 1<<20)
	l.Packet(l.Interface("eth0", 1, 0), 5, 6, []byte("packet"))
	w, done, ended := make(gate), make(chan struct{}), make(chan error)
	start := time.Now()
	go func() { ended <- l.Run(w, done) }()
	if b := <-w; len(b) == 0 || bytes.Contains(b, []byte("packet")) {
		t.Errorf("first came % x", b)
	}
	l.Secrets([]byte("secret"))
	sawSecret := false
	for b := range w {
		sawSecret = sawSecret || bytes.Contains(b, []byte("secret"))
		if bytes.Contains(b, []byte("packet")) {
			break
		}
	}
	if held := time.Since(start); held < 200*time.Millisecond || !sawSecret {
		t.Errorf("held for %v, secret %v", held, sawSecret)
	}
	// The packet was the second of two writes.
	close(done)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestLiveIsBounded(t *testing.T) {
	l := NewLive(time.Hour, 10_000)
	i := l.Interface("eth0", 1, 0)
	for range 100 {
		l.Packet(i, 1, 1000, make([]byte, 1000))
		l.Secrets(make([]byte, 1000))
	}
	if l.size > 10_000 || len(l.head) > 11_000 || l.Dropped() < 150 {
		t.Errorf("%d and %d bytes are held, %d dropped", l.size, len(l.head), l.Dropped())
	}
	broken := errors.New("the disk is full")
	if err := l.Run(failing{broken}, nil); !errors.Is(err, broken) {
		t.Error(err)
	}
	l.Packet(i, 1, 1, []byte("x"))
	if l.size != 0 {
		t.Errorf("%d bytes are held for nobody", l.size)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
