// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv("NETTEST_CHILD") != "" { // re-executed by TestUnprivileged
		top, err := NewTopology()
		if err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		if err := top.Close(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func inode(t *testing.T) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestDoEntersAndLeaves(t *testing.T) {
	n := Host(t, "one")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home := inode(t)
	var inside uint64
	want := errors.New("its own error")
	if err := n.Do(func() error { inside = inode(t); return want }); !errors.Is(err, want) {
		t.Fatalf("Do returned %v, not its function's error", err)
	}
	if inside == home || inode(t) != home {
		t.Fatalf("home %d, inside %d, after %d", home, inside, inode(t))
	}
}

func TestDoSurvivesGoexit(t *testing.T) {
	n := Host(t, "one")
	if err := n.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Fatal("no error from a function that did not return")
	}
	if err := n.Do(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestTopologyRoutesAndCaptures(t *testing.T) {
	top := Hosts(t)
	payload := bytes.Repeat([]byte("sight glass "), 20_000)
	for _, server := range []netip.Addr{Server4, Server6} {
		t.Run(server.String(), func(t *testing.T) {
			near, err := top.Box.Capture(BoxClientLink)
			if err != nil {
				t.Fatal(err)
			}
			far, err := top.Box.Capture(BoxServerLink)
			if err != nil {
				t.Fatal(err)
			}
			key := exchange(t, top, server, payload)
			a, b := streams(t, near), streams(t, far)
			for _, s := range []map[StreamKey]*Stream{a, b} {
				if !bytes.Equal(s[key].Payload, payload) || !bytes.Equal(s[key.Reverse()].Payload, payload) {
					t.Errorf("captured %d and %d bytes, want %d each", len(s[key].Payload), len(s[key.Reverse()].Payload), len(payload))
				}
			}
		})
	}
}

func streams(t *testing.T, c *Capture) map[StreamKey]*Stream {
	t.Helper()
	frames, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if got := len(Pcap(frames)); got <= 24 {
		t.Fatalf("a pcap of %d bytes", got)
	}
	s, err := Streams(frames)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// exchange sends payload to an echo server and reads it back.
func exchange(t *testing.T, top *Topology, server netip.Addr, payload []byte) StreamKey {
	t.Helper()
	ln, err := top.Server.Listen("tcp", netip.AddrPortFrom(server, 7).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	c, err := top.Client.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		_, _ = c.Write(payload)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, payload) {
		t.Fatalf("read %d bytes back, %v", len(got), err)
	}
	return StreamKey{From: c.LocalAddr().(*net.TCPAddr).AddrPort(), To: c.RemoteAddr().(*net.TCPAddr).AddrPort()}
}

func TestProcessesEndWithTheirNamespace(t *testing.T) {
	Require(t)
	n, err := New("one")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", "readlink /proc/self/ns/net; trap '' TERM; sleep 1000 & echo started; wait")
	cmd.Stdout = &out
	p, err := n.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err == nil {
		t.Error("a killed process ended well")
	}
	// What the group left behind is reaped by whoever adopted it.
	err = poll(context.Background(), "the process group to be gone", func() (bool, error) {
		return errors.Is(unix.Kill(-p.Pid(), 0), unix.ESRCH), nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWaitListening(t *testing.T) {
	n := Host(t, "one")
	result := make(chan error, 1)
	go func() { result <- n.WaitListening(context.Background(), 4433) }()
	ln, err := n.Listen("tcp", "[::1]:4433")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err = n.WaitListening(ctx, 4434)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "4434") {
		t.Errorf("waiting for nothing: %v", err)
	}
}

func TestUnprivileged(t *testing.T) {
	Require(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "NETTEST_CHILD=1")
	MapRoot(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		if (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC)) && os.Getenv("CI") != "true" {
			t.Skipf("user namespaces are not allowed here: %v", err)
		}
		t.Fatalf("in a user namespace: %v: %s", err, out)
	}
}

func TestStreamsRefuseWhatDiffers(t *testing.T) {
	from, to := netip.MustParseAddrPort("192.0.2.2:1"), netip.MustParseAddrPort("198.51.100.2:2")
	frame := func(seq uint32, flags byte, payload string) Frame {
		return Frame{Data: tcpFrame(from, to, seq, flags, payload)}
	}
	const syn, ack = 2, 16
	for _, tc := range []struct {
		name   string
		frames []Frame
		want   string
		err    string
	}{
		{"in order", []Frame{frame(9, syn, ""), frame(10, ack, "ab"), frame(12, ack, "cd")}, "abcd", ""},
		{"out of order", []Frame{frame(9, syn, ""), frame(12, ack, "cd"), frame(10, ack, "ab")}, "abcd", ""},
		{"again", []Frame{frame(9, syn, ""), frame(10, ack, "ab"), frame(11, ack, "bcd")}, "abcd", ""},
		{"around zero", []Frame{frame(0xfffffffe, syn, ""), frame(0xffffffff, ack, "abcd")}, "abcd", ""},
		{"missing", []Frame{frame(9, syn, ""), frame(11, ack, "b")}, "", "missing"},
		{"differs", []Frame{frame(9, syn, ""), frame(10, ack, "ab"), frame(10, ack, "aX")}, "", "differs"},
		{"no SYN", []Frame{frame(10, ack, "ab")}, "", "SYN"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Streams(tc.frames)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one about %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s := got[StreamKey{from, to}]; string(s.Payload) != tc.want {
				t.Errorf("payload %q, want %q", s.Payload, tc.want)
			}
		})
	}
}

func tcpFrame(from, to netip.AddrPort, seq uint32, flags byte, payload string) []byte {
	b := make([]byte, 14+20+20, 14+20+20+len(payload))
	b[12] = 8
	ip, tcp := b[14:34], b[34:54]
	ip[0], ip[9] = 0x45, 6
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	tcp[1], tcp[3] = byte(from.Port()), byte(to.Port())
	tcp[4], tcp[5], tcp[6], tcp[7] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
	tcp[12], tcp[13] = 5<<4, flags
	return append(b, payload...)
}

func FuzzStreams(f *testing.F) {
	f.Add(tcpFrame(netip.MustParseAddrPort("192.0.2.2:1"), netip.MustParseAddrPort("198.51.100.2:2"), 1, 2, "x"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		streams, err := Streams([]Frame{{Data: frame}})
		for _, s := range streams {
			if err == nil && len(s.Payload) > len(frame) {
				t.Fatalf("%d bytes from a frame of %d", len(s.Payload), len(frame))
			}
		}
	})
}
