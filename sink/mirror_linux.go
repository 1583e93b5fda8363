// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/session"
)

// Mirror sends the plaintext packets out of a network interface, for tools that listen there. It
// needs CAP_NET_RAW. What the interface does not take in time is dropped and counted.
type Mirror struct {
	base
	packetiser
	out *mirrorConsumer
}

// NewMirror opens the interface of that name.
func NewMirror(ifname string, opt MirrorOptions) (*Mirror, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", ifname, err)
	}
	fd, err := openMirror(ifi.Index)
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", ifname, err)
	}
	if opt.MTU <= 0 {
		opt.MTU = min(ifi.MTU, defaultMTU)
	}
	m := &Mirror{out: &mirrorConsumer{fd: fd}}
	q := newQueue(Options{Buffer: opt.Buffer, Order: OrderLive, FlushEvery: 20 * time.Millisecond}, m.out)
	m.base = base{name: "mirror", q: q}
	m.packetiser = packetiser{mtu: mtuOf(opt.MTU), out: &rawOut{q: q}}
	return m, nil
}

// openMirror returns a socket that only sends: with protocol 0 it receives nothing (packet(7)).
func openMirror(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket (needs CAP_NET_RAW): %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind: %w", err)
	}
	return fd, nil
}

// Event sends packets.
func (m *Mirror) Event(e *session.Event) { m.event(e) }

// Dropped counts packets that were not sent.
func (m *Mirror) Dropped() uint64 { return m.base.Dropped() + m.out.dropped.Load() }

// rawOut puts packets into a queue as they are.
type rawOut struct{ q *queue }

func (o *rawOut) begin(*conversation, *session.Flow) {}

func (o *rawOut) packet(c *conversation, payload []byte) {
	o.q.put(c.last, c.flow, 0, c.headers(), payload, nil)
}

type mirrorConsumer struct {
	fd      int
	dropped atomic.Uint64
}

// record sends one packet. An interface that is down or full is no reason to stop.
func (c *mirrorConsumer) record(r record) error {
	for {
		_, err := unix.Write(c.fd, r.data)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			c.dropped.Add(1)
			return nil
		}
	}
}

func (c *mirrorConsumer) settle() error  { return nil }
func (c *mirrorConsumer) flush() error   { return nil }
func (c *mirrorConsumer) unwritten() int { return 0 }
func (c *mirrorConsumer) close() error   { return unix.Close(c.fd) }
