// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/binary"
	"time"

	"github.com/sightglass/sightglass/capture/afpacket"
	"github.com/sightglass/sightglass/capture/pcapng"
	"github.com/sightglass/sightglass/session"
)

// The copy of what is captured live.
const (
	copyHold  = 2 * time.Second
	copyLimit = 64 << 20
)

// copyInterface makes an interface known to the copy.
func (s *Sniffer) copyInterface(readers []*ringReader) {
	if s.copy == nil {
		return
	}
	snaplen := s.o.Snaplen
	if snaplen <= 0 {
		snaplen = afpacket.DefaultSnaplen
	}
	first := readers[0]
	number := s.copy.Interface(first.socket.Interface(), pcapng.LinkType(first.link()), uint32(snaplen))
	for _, r := range readers {
		r.number = number
	}
}

// startCopy begins to write the copy. The function that it returns ends that, when all is captured.
func (s *Sniffer) startCopy() (end func() error) {
	if s.copy == nil {
		return func() error { return nil }
	}
	done, result := make(chan struct{}), make(chan error, 1)
	go func() { result <- s.copy.Run(s.o.WithSecrets, done) }()
	return func() error {
		close(done)
		return <-result
	}
}

// copyPacket gives a packet to the copy, with its tag back in its place.
func (r *ringReader) copyPacket(p *afpacket.Packet) {
	const addresses = 12
	if !p.Tagged || r.socket.Link() != afpacket.Ethernet || len(p.Data) < addresses {
		r.s.copy.Packet(r.number, p.Time, p.Length, p.Data)
		return
	}
	var tag [4]byte
	binary.BigEndian.PutUint16(tag[:], p.TagType)
	binary.BigEndian.PutUint16(tag[2:], p.Tag)
	r.s.copy.Packet(r.number, p.Time, p.Length+len(tag), p.Data[:addresses], tag[:], p.Data[addresses:])
}

// liveTee gives the secrets that were found to the copy.
type liveTee struct {
	copy *pcapng.Live
	next session.Handler
}

func (t *liveTee) Event(e *session.Event) {
	if e.Kind == session.KindSecrets {
		t.copy.Secrets(e.Data)
	}
	if t.next != nil {
		t.next.Event(e)
	}
}
