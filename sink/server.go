// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/session"
)

// ServerOptions say how packets are served. The zero value is good.
type ServerOptions struct {
	PcapngOptions
	// Buffer bounds the memory, in bytes, before the server and again for each client; zero is 8 MiB.
	Buffer int
	// MaxClients is how many are served at once; zero is 16.
	MaxClients int
}

// Server serves the plaintext packets, live, as pcapng over TCP (pcap-over-IP): to Wireshark as
// "-i TCP@host:port", to NetworkMiner and others. Each client gets a file of its own that begins
// when it connects. A client that reads too slowly misses whole packets, which are counted; it
// slows nothing else. The stream is neither encrypted nor authenticated: listen on loopback.
type Server struct {
	base
	packetiser
	hub *hub
}

// NewServer serves on l, which it owns.
func NewServer(l net.Listener, opt ServerOptions) *Server {
	if opt.Buffer <= 0 {
		opt.Buffer = defaultBuffer
	}
	if opt.MaxClients <= 0 {
		opt.MaxClients = 16
	}
	h := &hub{l: l, opt: opt, blocks: newBlocks(true, opt.Interfaces), done: make(chan struct{})}
	s := &Server{hub: h}
	q := newQueue(Options{Buffer: opt.Buffer, Order: OrderLive, FlushEvery: 50 * time.Millisecond}, h)
	s.base = base{name: "pcap-over-ip", q: q}
	s.packetiser = packetiser{mtu: mtuOf(opt.MTU), out: &blockOut{q: q, b: h.blocks}}
	h.wg.Go(h.accept)
	return s
}

// Event makes packets while there is a client. A flow that is under way when the first client
// connects begins for it there.
func (s *Server) Event(e *session.Event) {
	if s.hub.count.Load() > 0 || e.Kind == session.KindEnd {
		s.event(e)
	}
}

// Dropped counts packets that were not sent, once for each client that missed them.
func (s *Server) Dropped() uint64 { return s.base.Dropped() + s.hub.dropped.Load() }

// Clients returns how many clients are connected.
func (s *Server) Clients() int { return int(s.hub.count.Load()) }

// hubBlock is how much the hub gathers for one message to each client, in bytes.
const hubBlock = 64 << 10

// hub hands packets to clients. It is the queue's consumer; each client has a goroutine that
// writes, and one that waits for its end.
type hub struct {
	l       net.Listener
	opt     ServerOptions
	blocks  *blocks
	wg      sync.WaitGroup
	done    chan struct{}
	count   atomic.Int32
	dropped atomic.Uint64

	// The queue's goroutine's own.
	buf     []byte
	packets int
	need    int // interfaces that buf refers to
	last    int64

	mu      sync.Mutex
	clients []*hubClient
}

type hubClient struct {
	conn      net.Conn
	send      chan []byte
	announced int // interfaces described to it
}

func (h *hub) record(r record) error {
	if len(h.buf)+len(r.data) > hubBlock {
		h.broadcast()
	}
	if r.time < h.last {
		putTime(r.data, h.last)
	}
	h.last = max(h.last, r.time)
	h.buf = append(h.buf, r.data...)
	h.need = max(h.need, int(r.tag)+1)
	h.packets++
	return nil
}

func (h *hub) settle() error  { return nil }
func (h *hub) unwritten() int { return 0 }

func (h *hub) flush() error {
	h.broadcast()
	return nil
}

// broadcast sends what was gathered to each client that has room. Clients share one copy.
func (h *hub) broadcast() {
	if h.packets == 0 {
		return
	}
	h.mu.Lock()
	var shared []byte
	for _, c := range h.clients {
		msg := shared
		if c.announced < h.need {
			msg = append(h.blocks.describe(c.announced, h.need), h.buf...)
		} else if msg == nil {
			shared = slices.Clone(h.buf)
			msg = shared
		}
		select {
		case c.send <- msg:
			c.announced = max(c.announced, h.need)
		default:
			h.dropped.Add(uint64(h.packets))
		}
	}
	h.mu.Unlock()
	h.buf, h.packets = h.buf[:0], 0
}

// accept takes clients until the listener is closed.
func (h *hub) accept() {
	for {
		conn, err := h.l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // of one connection, or of files open: it may pass
			select {
			case <-h.done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		default:
			h.join(conn)
		}
	}
}

func (h *hub) join(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.done:
		conn.Close()
		return
	default:
	}
	if len(h.clients) >= h.opt.MaxClients {
		conn.Close()
		return
	}
	n := h.blocks.count()
	c := &hubClient{conn: conn, announced: n, send: make(chan []byte, max(h.opt.Buffer/hubBlock, 2))}
	c.send <- append(appendSection(nil), h.blocks.describe(0, n)...)
	h.clients = append(h.clients, c)
	h.count.Store(int32(len(h.clients)))
	h.wg.Go(func() { h.serve(c) })
	h.wg.Go(func() {
		io.Copy(io.Discard, conn) // ends when the client does
		h.leave(c)
	})
}

// serve writes to a client until it leaves, or the hub closes and all is written.
func (h *hub) serve(c *hubClient) {
	defer h.leave(c)
	for msg := range c.send {
		if _, err := c.conn.Write(msg); err != nil {
			return
		}
	}
}

// leave forgets a client. Whoever takes it from the list closes its channel.
func (h *hub) leave(c *hubClient) {
	c.conn.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.clients, c); i >= 0 {
		h.clients = slices.Delete(h.clients, i, i+1)
		h.count.Store(int32(len(h.clients)))
		close(c.send)
	}
}

// close lets each client have what is queued for it, if it takes that within a second.
func (h *hub) close() error {
	close(h.done)
	err := h.l.Close()
	h.mu.Lock()
	for _, c := range h.clients {
		c.conn.SetWriteDeadline(time.Now().Add(time.Second))
		close(c.send)
	}
	h.clients = nil
	h.count.Store(0)
	h.mu.Unlock()
	h.wg.Wait()
	return err
}
