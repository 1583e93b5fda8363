// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"os"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/relay/sock"
	"github.com/sightglass/sightglass/session"
	"golang.org/x/sys/unix"
)

// leg is one TCP connection of a flow: the socket, and what the loop was told of it.
type leg struct {
	flow     *flow
	side     handshake.Side
	fd       int   // -1: closed
	mark     int32 // comes with what the loop is told of the socket, and of no other that had the descriptor
	readable bool  // until a read shows that it is not
	writable bool  // until a write shows that it is not
	ended    bool  // a read that does not fill its buffer does not say that there is no more
	fin      bool  // the peer has sent its last byte, and nothing went wrong
	wrote    bool  // the peer was sent something
	waits    bool  // and some of it may wait for the end to go along
	urgent   bool  // the peer marked a byte as urgent: a read stops there, and a splice for ever
}

// happened takes what the loop was told of the leg.
func (g *leg) happened(events uint32) {
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		g.readable = true
	}
	if events&unix.EPOLLOUT != 0 {
		g.writable = true
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLPRI) != 0 {
		g.ended = true
	}
	g.fin = (g.fin || events&unix.EPOLLRDHUP != 0) && events&unix.EPOLLERR == 0
	if events&unix.EPOLLPRI != 0 {
		g.urgent = true
	}
	if g.flow.engine.engine == nil {
		if g.side == handshake.Server {
			g.flow.connecting(events)
		}
		return
	}
	// What came before a reset is read first; the error is asked for where nothing is to be read any more.
	if events&unix.EPOLLERR != 0 && g.flow.dirs[g.side].eof && g.flow.verdict != session.Refuse {
		if err := sock.Err(g.fd, "read"); err != nil {
			g.flow.broke(g.side, g.opError("read", err))
			return
		}
	}
	g.flow.loop.later(g.flow)
}

// read reads once. again is false if there is nothing more for now. n is 0 at the end of the stream.
func (g *leg) read(b []byte) (n int, again bool, err error) {
	n, err = sock.Receive(g.fd, b)
	if err == unix.EAGAIN {
		g.readable = false
		return 0, false, nil
	}
	if err != nil {
		return 0, false, g.opError("read", os.NewSyscallError("recv", err))
	}
	// What did not fill the buffer was all there was, and the loop is told of what comes (epoll(7)).
	if n < len(b) && !g.ended {
		g.readable = false
	}
	return n, true, nil
}

// last reports whether a read that gave n bytes of so many gave the last that the peer sent: what does not fill the buffer is all
// there is, and nothing comes after a FIN.
func (g *leg) last(n, size int) bool { return g.fin && n < size && !g.urgent }

// write writes what the socket takes. If the end of the stream follows at once, both go out in one packet.
func (g *leg) write(b []byte, end bool) (n int, err error) {
	g.waits = end
	for n < len(b) {
		m, err := sock.Send(g.fd, b[n:], end)
		if err == unix.EAGAIN {
			g.writable = false
			return n, nil
		}
		if err != nil {
			return n, g.opError("write", os.NewSyscallError("send", err))
		}
		if !g.wrote {
			g.wrote = true
			g.flow.spoke(g)
		}
		n += m
	}
	return n, nil
}

// shut ends what is sent to the peer.
func (g *leg) shut() error {
	if err := sock.Shut(g.fd); err != nil {
		return g.opError("close", os.NewSyscallError("shutdown", err))
	}
	return nil
}

// close closes the socket, which leaves the loop's epoll with that.
func (g *leg) close() { g.let(sock.Close) }

// reset closes the socket so that the peer gets a RST, after all that was written if there is nothing in the way.
func (g *leg) reset() {
	if g.waits && g.fd >= 0 {
		_ = sock.Push(g.fd)
	}
	g.let(reset)
}

func (g *leg) let(closing func(fd int)) {
	if g.fd >= 0 {
		if l := g.flow.loop; l.leg(g.fd) == g {
			l.legs[g.fd] = nil
		}
		closing(g.fd)
		g.fd = -1
	}
}

func (g *leg) opError(op string, err error) error {
	return opError(g.flow, g.side, op, err)
}

// reset closes a connection so that the peer gets a RST.
func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	sock.Close(fd)
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
