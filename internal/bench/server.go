// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"os"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record"
)

// What a client asks of the server: one byte, and a number of eight.
const (
	askBulk  = 'B' // seal so many bytes, say what they are, and send them when told to
	askGo    = 'G'
	askIdle  = 'I' // answer, and wait
	askLen   = 9
	readyLen = 32
	// plainMark begins what is no TLS.
	plainMark = "SSH-2.0-bench\r\n"
)

// runServer is the server's process: it reads its services from standard input and serves until that ends.
func runServer(dir string) error {
	ids, err := loadIdentities(dir)
	if err != nil {
		return err
	}
	var services []service
	in := json.NewDecoder(os.Stdin)
	if err := in.Decode(&services); err != nil {
		return err
	}
	own, err := ids.Server.identity()
	if err != nil {
		return err
	}
	behind, err := ids.Behind.identity()
	if err != nil {
		return err
	}
	for _, s := range services {
		ln, err := net.Listen("tcp", fmt.Sprintf(":%d", s.Port))
		if err != nil {
			return err
		}
		a := &acceptor{own: own, mutual: s.Mutual}
		if s.Behind {
			a.own = behind
		}
		serve := a.serve
		if s.Plain {
			serve = servePlain
		}
		go accept(ln, serve)
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, in.Buffered())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return err
}

func accept(ln net.Listener, serve func(net.Conn) error) {
	for {
		c, err := ln.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		go func() {
			if err := serve(c); err != nil && !isEOF(err) {
				fmt.Fprintln(os.Stderr, "server:", c.RemoteAddr(), err)
			}
			_ = c.Close()
		}()
	}
}

// serve is one TLS connection.
func (a *acceptor) serve(c net.Conn) error {
	t := newConn(c, handshake.Server)
	defer t.release()
	if err := t.server(a); err != nil {
		return err
	}
	for {
		t.release()
		ask, err := t.content(handshake.ContentApplicationData)
		switch {
		case err != nil:
			return err
		case len(ask) != askLen:
			return fmt.Errorf("a request of %d bytes", len(ask))
		case ask[0] == askIdle:
			if err := t.write(ask); err != nil {
				return err
			}
			continue
		}
		s, err := t.seal(int(binary.BigEndian.Uint64(ask[1:])))
		if err != nil {
			return err
		}
		err = t.sendSlab(s)
		slabs.put(s.bytes)
		if err != nil {
			return err
		}
	}
}

// slab is what is sent in bulk.
type slab struct {
	bytes         []byte // as they go over the wire
	plain         int
	wireCRC, sum  uint32 // sum: of the plaintext
	ready, before []byte // before: the record that announces it
}

// seal seals the announcement and n bytes, in this order, before anything is sent.
func (t *tlsConn) seal(n int) (*slab, error) {
	s := &slab{plain: n}
	chunk := pattern()
	// The announcement comes first on the wire, so it is sealed first, and needs what it announces: the
	// slab is sealed with the next numbers, by a sealer of its own.
	announce := t.sealer
	o, err := t.openerOfOwn()
	if err != nil {
		return nil, err
	}
	o.SetSequence(o.Sequence() + 1)
	rest := o.Sealer()
	s.bytes = slabs.get(n + (n/handshake.MaxPlaintext+1)*100)
	for left := n; left > 0; {
		at := (n - left) % (len(chunk) - handshake.MaxPlaintext)
		piece := chunk[at : at+min(left, handshake.MaxPlaintext)]
		s.sum = crc32.Update(s.sum, castagnoli, piece)
		if s.bytes, err = rest.Seal(s.bytes, handshake.ContentApplicationData, piece); err != nil {
			return nil, err
		}
		left -= len(piece)
	}
	s.announce()
	s.before, err = announce.Seal(nil, handshake.ContentApplicationData, s.ready)
	t.sealer = rest
	return s, err
}

// openerOfOwn returns an opener that stands where the sealer does: one record was sent, the Finished.
func (t *tlsConn) openerOfOwn() (*record.Opener, error) {
	other := *t
	other.side = t.side.Opposite()
	o, _, err := other.keys()
	if err != nil {
		return nil, err
	}
	o.SetSequence(1)
	return o, nil
}

func (s *slab) announce() {
	s.wireCRC = crc32.Checksum(s.bytes, castagnoli)
	s.ready = make([]byte, readyLen)
	binary.BigEndian.PutUint64(s.ready, uint64(len(s.bytes)))
	binary.BigEndian.PutUint32(s.ready[8:], s.wireCRC)
	binary.BigEndian.PutUint64(s.ready[12:], uint64(s.plain))
	binary.BigEndian.PutUint32(s.ready[20:], s.sum)
}

func (t *tlsConn) sendSlab(s *slab) error {
	if _, err := t.Conn.Write(s.before); err != nil {
		return err
	}
	ask, err := t.content(handshake.ContentApplicationData)
	if err != nil {
		return err
	}
	return send(t.Conn, s.bytes, ask)
}

// send sends b when the client says so.
func send(c net.Conn, b, ask []byte) error {
	if len(ask) != askLen || ask[0] != askGo {
		return fmt.Errorf("no word to go on")
	}
	_, err := c.Write(b)
	return err
}

// servePlain is one connection that is not TLS.
func servePlain(c net.Conn) error {
	ask := make([]byte, len(plainMark)+askLen)
	if _, err := io.ReadFull(c, ask); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint64(ask[len(plainMark)+1:]))
	s := &slab{plain: n, bytes: slabs.get(n)}
	defer func() { slabs.put(s.bytes) }()
	for chunk := pattern(); len(s.bytes) < n; {
		s.bytes = append(s.bytes, chunk[:min(len(chunk), n-len(s.bytes))]...)
	}
	s.announce()
	if _, err := c.Write(s.ready); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, ask[:askLen]); err != nil {
		return err
	}
	return send(c, s.bytes, ask[:askLen])
}

// pattern returns text, as programs that show plaintext like it best, no two stretches of which are alike.
func pattern() []byte { return patternBytes }

var patternBytes = func() []byte {
	b := make([]byte, 1<<20+handshake.MaxPlaintext)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(b)
	for i, c := range b {
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[c&63]
		if i%72 == 71 {
			b[i] = '\n'
		}
	}
	return b
}()

// slabList keeps slabs, whose first use costs as much as filling them.
type slabList chan []byte

var slabs = make(slabList, 128)

func (l slabList) get(n int) []byte {
	for range len(l) {
		select {
		case b := <-l:
			if cap(b) >= n {
				return b[:0]
			}
		default:
		}
	}
	return make([]byte, 0, n)
}

func (l slabList) put(b []byte) {
	select {
	case l <- b[:0]:
	default:
	}
}
