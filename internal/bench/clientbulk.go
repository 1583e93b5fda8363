// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// bulkFlow is one flow that takes what the server sends.
type bulkFlow struct {
	conn  net.Conn
	tls   *tlsConn // nil: plain
	wire  uint64   // bytes that come, as they go over the wire
	crc   uint32
	sum   connSum
	open  bool
	first uint32 // CRC-32C of the announcement
}

// bulk opens the flows, waits, and takes all that comes. Every byte is checked: the ciphertext against the
// checksum of what the server sealed, or, where the box seals anew, each record and its plaintext.
func (c *client) bulk(j *job) (*answer, error) {
	flows := make([]*bulkFlow, j.Flows)
	defer func() {
		for _, f := range flows {
			if f != nil {
				_ = f.conn.Close()
			}
		}
	}()
	err := each(len(flows), func(i int) (err error) {
		flows[i], err = c.openBulk(j)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := c.ready(); err != nil {
		return nil, err
	}
	begun := time.Now()
	err = each(len(flows), func(i int) error { return flows[i].take(j) })
	a := &answer{Seconds: time.Since(begun).Seconds()}
	for _, f := range flows {
		a.Sums = append(a.Sums, f.sum)
	}
	return a, err
}

func (c *client) openBulk(j *job) (*bulkFlow, error) {
	f := &bulkFlow{open: j.Open}
	if j.Plain {
		conn, err := c.dial(j.Targets[0])
		if err != nil {
			return nil, err
		}
		f.conn = conn
		f.sum.add(0, []byte(plainMark))
		_, err = io.WriteString(conn, plainMark)
		if err != nil {
			return f, err
		}
	} else {
		t, err := c.connect(j.Targets[0], j.Suite, nil)
		if err != nil {
			return nil, err
		}
		f.conn, f.tls = t.Conn, t
	}
	f.sum.Client = f.conn.LocalAddr().String()
	if err := f.ask(askBulk, uint64(j.Bytes)); err != nil {
		return f, err
	}
	return f, f.announced()
}

func (s *connSum) add(side handshake.Side, b []byte) {
	s.Bytes[side] += uint64(len(b))
	s.CRC[side] = crc32.Update(s.CRC[side], castagnoli, b)
}

func (f *bulkFlow) ask(what byte, n uint64) error {
	b := binary.BigEndian.AppendUint64([]byte{what}, n)
	f.sum.add(handshake.Client, b)
	if f.tls != nil {
		return f.tls.write(b)
	}
	_, err := f.conn.Write(b)
	return err
}

// announced reads what the server is going to send.
func (f *bulkFlow) announced() (err error) {
	b := make([]byte, readyLen)
	if f.tls != nil {
		b, err = f.tls.content(handshake.ContentApplicationData)
	} else {
		_, err = io.ReadFull(f.conn, b)
	}
	if err != nil {
		return err
	}
	if len(b) != readyLen {
		return fmt.Errorf("an announcement of %d bytes", len(b))
	}
	f.sum.add(handshake.Server, b)
	f.first = f.sum.CRC[handshake.Server]
	f.wire, f.crc = binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	plain, sum := binary.BigEndian.Uint64(b[12:]), binary.BigEndian.Uint32(b[20:])
	f.sum.Bytes[1] += plain
	f.sum.CRC[1] = combine(f.sum.CRC[1], sum, plain)
	return nil
}

// take tells the server to send, and takes it.
func (f *bulkFlow) take(j *job) error {
	if err := f.ask(askGo, 0); err != nil {
		return err
	}
	if f.open {
		return f.takeRecords(j.Bytes)
	}
	buf := make([]byte, readSize)
	var crc uint32
	for left := f.wire; left > 0; {
		n, err := f.conn.Read(buf)
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", f.wire-left, f.wire, err)
		}
		if uint64(n) > left {
			return errors.New("more came than was sent")
		}
		crc = crc32.Update(crc, castagnoli, buf[:n])
		left -= uint64(n)
	}
	if crc != f.crc {
		return errors.New("other bytes came than were sent")
	}
	return nil
}

// takeRecords opens every record.
func (f *bulkFlow) takeRecords(plain int64) error {
	got := connSum{}
	for got.Bytes[1] < uint64(plain) {
		b, err := f.tls.content(handshake.ContentApplicationData)
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", got.Bytes[1], plain, err)
		}
		got.add(handshake.Server, b)
	}
	announced := f.sum.CRC[1]
	all := combine(f.first, got.CRC[1], got.Bytes[1])
	if got.Bytes[1] != uint64(plain) || all != announced {
		return errors.New("other bytes came than were sent")
	}
	return nil
}
