// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"io"
	"net"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// join connects and waits until the server knows.
func join(t *testing.T, s *Server, want int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.hub.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return s.Clients() == want })
	return conn
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func TestServer(t *testing.T) {
	s := NewServer(listen(t), ServerOptions{})
	play(s, testFlow(1)).data(client, "nobody listens").end()
	a := join(t, s, 1)
	f := testFlow(2)
	f.Interface = "eth5" // not known when the client came
	p := play(s, f).data(client, "one").data(server, "two")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	b := join(t, s, 2)
	f = testFlow6(3)
	f.Interface = "eth6"
	play(s, f).data(client, "three").end()
	p.fin(client).fin(server).end()
	read := func(conn net.Conn) <-chan []byte {
		c := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(conn)
			c <- all
		}()
		return c
	}
	ra, rb := read(a), read(b)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readPackets(t, <-ra); len(got) != 3+4+5+4 || got[0].ci.InterfaceIndex != 1 {
		t.Errorf("first client: %d packets: %s", len(got), packetNames(got))
	}
	if got := readPackets(t, <-rb); len(got) != 5+4 || s.Dropped() != 0 {
		t.Errorf("second client: %d packets, %d dropped", len(got), s.Dropped())
	}
}

func TestServerForgetsClients(t *testing.T) {
	s := NewServer(listen(t), ServerOptions{MaxClients: 1})
	a := join(t, s, 1)
	b, err := net.Dial("tcp", s.hub.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := io.Copy(io.Discard, b); n != 0 { // refused: one is the most
		t.Errorf("a second client got %d bytes", n)
	}
	a.Close()
	until(t, func() bool { return s.Clients() == 0 })
	join(t, s, 1).Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", s.hub.l.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

// TestServerSlowClient has one client that never reads: it misses packets, which are counted,
// holds up neither the flow nor the other client, and what it gets is well-formed.
func TestServerSlowClient(t *testing.T) {
	s := NewServer(listen(t), ServerOptions{Buffer: 1 << 20})
	slow := join(t, s, 1)
	fast := join(t, s, 2)
	got := make(chan int, 1)
	go func() {
		n, _ := io.Copy(io.Discard, fast)
		got <- int(n)
	}()
	p := play(s, testFlow(1))
	payload := pattern(64 << 10)
	for range 400 { // 25 MiB: more than all buffers of one connection
		p.data(server, payload)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if s.Dropped() == 0 {
		t.Error("a client that does not read missed nothing")
	}
	rest := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(slow)
		rest <- b
	}()
	s.Close()
	if n := <-got; n < 400*len(payload) && s.Dropped() == 0 {
		t.Errorf("the other client got %d bytes", n)
	}
	if n := len(readPackets(t, <-rest)); n == 0 {
		t.Error("the slow client got no packet")
	}
}

// TestServerWireshark has tshark as a client.
func TestServerWireshark(t *testing.T) {
	tshark := tool(t, "tshark")
	s := NewServer(listen(t), ServerOptions{})
	cmd := exec.Command(tshark, "-i", "TCP@"+s.hub.l.Addr().String(), "-c", "5", "-T", "fields", "-e", "tcp.len", "-l")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return s.Clients() == 1 })
	play(s, testFlow(1)).data(client, "four").end()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if got := out.String(); got != "0\n0\n0\n4\n0\n" {
		t.Errorf("tshark printed %q, %v: %s", got, err, errs.String())
	}
	s.Close()
}
