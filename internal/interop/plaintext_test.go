// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/sightglass/sightglass/capture/pcapng"
	"github.com/sightglass/sightglass/internal/nettest"
)

// plainConn is a connection in the pcapng file. Its client may have used its port again later.
type plainConn struct {
	begin   time.Time
	frames  []nettest.Frame
	streams map[nettest.StreamKey]*nettest.Stream
}

// plaintext returns the connections of the pcapng file, in order, by the client's stream. The box
// has ended.
func (b *box) plaintext() (map[nettest.StreamKey][]*plainConn, error) {
	all := map[nettest.StreamKey][]*plainConn{}
	err := b.frames(func(f nettest.Frame) {
		key, opens := connection(f.Data)
		name := key
		if all[key.Reverse()] != nil {
			name = key.Reverse()
		}
		if opens {
			all[name] = append(all[name], &plainConn{begin: f.Time})
		}
		if conns := all[name]; len(conns) > 0 {
			last := conns[len(conns)-1]
			last.frames = append(last.frames, f)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, conns := range all {
		for _, c := range conns {
			if c.streams, err = nettest.Streams(c.frames); err != nil {
				return nil, err
			}
			c.frames = nil
		}
	}
	return all, nil
}

// frames hands on every packet of the pcapng file.
func (b *box) frames(take func(nettest.Frame)) error {
	file, err := os.Open(b.pcapng)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	r, err := pcapng.NewReader(b.pcapng, file)
	if err != nil {
		return err
	}
	buf := make([]byte, pcapng.MinBuffer)
	for {
		var p pcapng.Packet
		err := r.Next(&p)
		switch {
		case errors.Is(err, pcapng.ErrFill):
			r.Fill(buf, true)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		default:
			take(nettest.Frame{Time: time.Unix(0, p.Time), Data: bytes.Clone(p.Data)})
		}
	}
}

// connection names the stream of a frame as the pcapng file has them, and reports whether it opens a
// connection: a SYN without an ACK.
func connection(frame []byte) (key nettest.StreamKey, opens bool) {
	const ethernet = 14
	if len(frame) < ethernet+40 {
		return key, false
	}
	ip := frame[ethernet:]
	var from, to netip.Addr
	header := 40
	if ip[0]>>4 == 4 {
		header = int(ip[0]&15) * 4
		from, to = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	} else {
		from, to = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	}
	if len(ip) < header+20 {
		return key, false
	}
	tcp := ip[header:]
	key.From = netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp))
	key.To = netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:]))
	return key, tcp[13]&0x12 == 0x02
}

// result is all that a box wrote.
type result struct {
	flows     []*flow
	plaintext map[nettest.StreamKey][]*plainConn
}

// finish ends the box and returns what it wrote.
func (b *box) finish() *result {
	b.l.t.Helper()
	b.close()
	return b.results()
}

// results reads what a box wrote that has ended.
func (b *box) results() *result {
	b.l.t.Helper()
	r := &result{}
	var err error
	r.flows, err = b.flows()
	must(b.l.t, err)
	r.plaintext, err = b.plaintext()
	must(b.l.t, err)
	return r
}

// said returns the plaintext of one stream of a flow.
func (r *result) said(f *flow, stream nettest.StreamKey) []byte {
	var nearest *plainConn
	for _, c := range r.plaintext[f.name()] {
		if nearest == nil || c.begin.Sub(f.start).Abs() < nearest.begin.Sub(f.start).Abs() {
			nearest = c
		}
	}
	if nearest == nil || nearest.streams[stream] == nil {
		return nil
	}
	return nearest.streams[stream].Payload
}

// to returns the flows to one server, in order.
func (r *result) to(server netip.AddrPort) []*flow {
	var all []*flow
	for _, f := range r.flows {
		if f.server == server {
			all = append(all, f)
		}
	}
	return all
}
