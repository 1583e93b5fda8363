// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"encoding/binary"
	"io"
	"sync"
	"time"
)

// Live writes packets as they are captured, with the secrets that open them. A reader that goes
// through the file once has to meet a secret before the packets that need it, and the secret is only
// found when these come: so packets are held back for a while, and secrets are not.
//
// Nobody waits for the writing: what there is no room for is left out, and counted.
type Live struct {
	hold  time.Duration
	limit int

	mu         sync.Mutex
	chunks     []chunk // the oldest first
	interfaces int
	head       []byte // what goes first: section header, interfaces, secrets
	size       int
	dropped    uint64
}

// chunk is packets that came at about the same time.
type chunk struct {
	since time.Time
	data  []byte
}

const (
	chunkSize = 256 << 10
	chunkTime = 50 * time.Millisecond
)

// NewLive returns a writer that holds packets for a time, and no more than limit bytes of them.
func NewLive(hold time.Duration, limit int) *Live {
	l := &Live{hold: hold, limit: limit}
	l.head = appendBlock(nil, binary.LittleEndian, blockSection, sectionBody)
	return l
}

func sectionBody(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, byteOrderMagic)
	b = binary.LittleEndian.AppendUint32(b, 1) // version 1.0
	return binary.LittleEndian.AppendUint64(b, ^uint64(0))
}

// Interface adds an interface, and returns its number for Packet. Times have a resolution of
// nanoseconds.
func (l *Live) Interface(name string, link LinkType, snaplen uint32) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	name = name[:min(len(name), maxName)]
	l.head = appendBlock(l.head, binary.LittleEndian, blockInterface, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint32(b, uint32(link))
		b = binary.LittleEndian.AppendUint32(b, snaplen)
		b = binary.LittleEndian.AppendUint16(b, optionName)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
		b = append(b, name...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		b = append(b, optionTsresol, 0, 1, 0, 9, 0, 0, 0)
		return append(b, optionEnd, 0, 0, 0)
	})
	l.interfaces++
	return l.interfaces - 1
}

// Packet takes a packet of an interface: its bytes, which may be in several parts, its length on the
// wire and its time in nanoseconds.
func (l *Live) Packet(iface int, t int64, length int, parts ...[]byte) {
	captured := 0
	for _, p := range parts {
		captured += len(p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+captured > l.limit {
		l.dropped++
		return
	}
	c := l.chunk()
	before := len(c.data)
	c.data = appendBlock(c.data, binary.LittleEndian, blockEnhanced, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint32(b, uint32(iface))
		b = binary.LittleEndian.AppendUint32(b, uint32(uint64(t)>>32))
		b = binary.LittleEndian.AppendUint32(b, uint32(t))
		b = binary.LittleEndian.AppendUint32(b, uint32(captured))
		b = binary.LittleEndian.AppendUint32(b, uint32(max(length, captured)))
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	})
	l.size += len(c.data) - before
}

// chunk returns the chunk that packets go to now.
func (l *Live) chunk() *chunk {
	n := len(l.chunks)
	if n == 0 || len(l.chunks[n-1].data) >= chunkSize || time.Since(l.chunks[n-1].since) >= chunkTime {
		l.chunks = append(l.chunks, chunk{since: time.Now()})
		n++
	}
	return &l.chunks[n-1]
}

// Secrets takes lines of an NSS key log.
func (l *Live) Secrets(lines []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.head)+len(lines) > l.limit {
		l.dropped++
		return
	}
	l.head = appendBlock(l.head, binary.LittleEndian, blockSecrets, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint32(b, SecretsTLS)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(lines)))
		return append(b, lines...)
	})
}

// Dropped returns how many packets and secrets were left out.
func (l *Live) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Run writes until done, and then the rest. It returns the writer's first error, after which all
// that comes is left out.
func (l *Live) Run(w io.Writer, done <-chan struct{}) error {
	ticker := time.NewTicker(chunkTime)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := l.write(w, time.Now().Add(-l.hold)); err != nil {
				l.fail()
				return err
			}
		case <-done:
			return l.write(w, time.Now().Add(time.Hour))
		}
	}
}

func (l *Live) fail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit, l.chunks, l.head, l.size = -1, nil, nil, 0
}

// write writes all secrets, and the packets that came before a time.
func (l *Live) write(w io.Writer, before time.Time) error {
	for {
		head, data := l.take(before)
		if len(head)+len(data) == 0 {
			return nil
		}
		if _, err := w.Write(head); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
}

// take takes what is to be written next.
func (l *Live) take(before time.Time) (head, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head, l.head = l.head, nil
	if len(l.chunks) > 0 && l.chunks[0].since.Before(before) {
		data = l.chunks[0].data
		l.chunks = l.chunks[1:]
		l.size -= len(data)
	}
	return head, data
}
