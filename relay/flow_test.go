// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sightglass/sightglass/relay/sock"
	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

// TestServerSpeaksFirst: where the client says nothing, the server sees the connection after a moment all the same; where it does,
// nobody wakes up for that.
func TestServerSpeaksFirst(t *testing.T) {
	cfg := Config{NewEngine: func(f session.Flow) Engine { return &fake{flow: f} }}
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	l := newLoops(t, 1, cfg)[0]
	up, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	target := up.Addr().(*net.TCPAddr).AddrPort()

	connected := func() *flow {
		f := newFlow(l, -1, connection{start: time.Now()})
		f.quiet = true
		f.connect(target)
		t.Cleanup(f.legs[server].close)
		if !eventually(func() bool {
			peer, err := sock.Connected(f.legs[server].fd)
			return peer != netip.AddrPort{} || err != nil
		}) {
			t.Fatal("not connected")
		}
		f.connecting(0)
		return f
	}

	silent := connected()
	if silent.showBy.IsZero() || !silent.at.Equal(silent.showBy) {
		t.Fatalf("the next tick is at %v, the connection to be seen by %v", silent.at, silent.showBy)
	}
	silent.tick(silent.showBy)
	if _, err := up.Accept(); err != nil {
		t.Error(err)
	}
	if !silent.showBy.IsZero() || !silent.at.After(silent.start.Add(showAfter*2)) {
		t.Errorf("and again at %v", silent.at)
	}

	speaks := connected()
	if _, err := speaks.legs[server].write([]byte("hello"), false); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.GetsockoptInt(speaks.legs[server].fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK); err != nil || n != 1 {
		t.Errorf("what the server sends is acknowledged late: %d, %v", n, err)
	}
	speaks.setTimer(time.Now())
	if !speaks.showBy.IsZero() || !speaks.at.After(speaks.start.Add(showAfter*2)) {
		t.Errorf("the next tick is at %v though the client spoke", speaks.at)
	}
}

// TestEndGoesAlong: the last that a peer sent and its end are one packet, and no read is made for the end.
func TestEndGoesAlong(t *testing.T) {
	cfg := Config{NewEngine: func(f session.Flow) Engine { return &fake{flow: f, ended: make(chan struct{}), ahead: all} }}
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	// sends has the client send its last, and returns the flow, the loop of which was told, and the server's end.
	sends := func(t *testing.T, verdict session.Verdict) (*flow, *net.TCPConn) {
		near, peer := tcpPair(t)
		upstream, s := tcpPair(t)
		f := newFlow(newLoops(t, 1, cfg)[0], near, connection{start: time.Now()})
		f.engine = guard{engine: &fake{ended: make(chan struct{}), ahead: all, verdict: verdict}, panicked: f.panicked}
		f.verdict = verdict
		f.legs[server] = leg{flow: f, side: server, fd: upstream, writable: true}
		t.Cleanup(f.legs[client].close)
		t.Cleanup(f.legs[server].close)
		send(t, peer, "the last")
		if err := peer.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, near, unix.POLLRDHUP)
		f.legs[client].happened(unix.EPOLLIN | unix.EPOLLRDHUP)
		return f, s
	}
	for name, verdict := range map[string]session.Verdict{"read": session.Relay, "not read": session.Bypass} {
		t.Run(name, func(t *testing.T) {
			f, s := sends(t, verdict)
			before := segments(t, s)
			if f.run(); !f.dirs[client].through {
				t.Error("the end was not passed on at once")
			}
			expect(t, s, "the last")
			expectEOF(t, s)
			if got := segments(t, s) - before; got != 1 {
				t.Errorf("the server had %d segments, want 1", got)
			}
		})
		t.Run(name+", then a reset", func(t *testing.T) {
			f, s := sends(t, verdict)
			f.dirs[server].lost = unix.EPIPE // the client has closed its socket, and takes nothing any more
			if f.run(); !f.closed {
				t.Error("the flow goes on")
			}
			expect(t, s, "the last")
			expectReset(t, s)
		})
	}
}

// tcpPair returns the two ends of a connection, one of them as a loop has it.
func tcpPair(t *testing.T) (fd int, peer *net.TCPConn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if fd, err = sock.Connect(netip.AddrPort{}, ln.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	if peer, err = ln.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	waitFor(t, fd, unix.POLLOUT)
	return fd, peer
}

// waitFor waits for something to happen to a socket.
func waitFor(t *testing.T, fd int, event int16) {
	t.Helper()
	const bound = 10_000 // milliseconds
	n, err := retry(func() (int, error) { return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: event}}, bound) })
	if n != 1 || err != nil {
		t.Fatalf("poll: %d, %v", n, err)
	}
}

// segments returns how many a connection has received (TCP_INFO, tcp(7)).
func segments(t *testing.T, c *net.TCPConn) (n uint32) {
	t.Helper()
	err := control(c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = info.Segs_in
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
