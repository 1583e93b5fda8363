// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// captureSpec says what is in a capture file.
type captureSpec struct {
	name  string
	flows int
	bytes int64 // of application data in each flow, from the server
	// resumed flows, all but the first, are resumptions of it: the private key has one thing to do.
	resumed bool
}

// capturePort is the server's in captures.
const capturePort = 443

var captureServer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 2}), capturePort)

// captureFile is a capture on disk.
type captureFile struct {
	captureSpec
	path string
	size int64
	sums []connSum // what was said in it
}

func (f *captureFile) remove() { _ = os.Remove(f.path) }

// touch reads the file through twice, so that whoever reads it next finds it in memory that was used a moment ago:
// on a virtual machine other memory may be slow.
func (f *captureFile) touch() error {
	for range 2 {
		in, err := os.Open(f.path)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, in)
		if err := errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	return nil
}

// plain returns how much plaintext is in the file.
func (f *captureFile) plain() (n uint64) {
	for _, s := range f.sums {
		n += s.Bytes[0] + s.Bytes[1]
	}
	return n
}

// makeCapture writes a capture file.
func (b *bench) makeCapture(spec captureSpec) (*captureFile, error) {
	ids, err := loadIdentities(b.lab.dir)
	if err != nil {
		return nil, err
	}
	server, err := ids.Server.identity()
	if err != nil {
		return nil, err
	}
	file := &captureFile{captureSpec: spec, path: b.lab.file(spec.name + ".pcap")}
	w, err := os.Create(file.path)
	if err != nil {
		return nil, err
	}
	c := newCapture(w)
	o := captured(server)
	for i := range spec.flows {
		if b.ctx.Err() != nil {
			break
		}
		f := c.tls(captureClient(i), captureServer, o)
		f.say(handshake.Client, []byte("GET /"))
		f.bulk(handshake.Server, spec.bytes)
		f.close()
		if spec.resumed {
			o.Resume = f.conn.State(false)
		}
	}
	file.sums, file.size = c.sums, c.size
	if err := errors.Join(c.end(), w.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", file.path, err)
	}
	return file, b.ctx.Err()
}

// captured is what the handshakes in captures are like.
func captured(server *identity) forge.Options {
	id := make([]byte, sessionID)
	id[0] = 1
	return forge.Options{Version: version, Suite: suiteGCM, Key: server.key, Chain: [][]byte{server.cert}, SessionID: id}
}

// captureClient is the client of a capture's i-th flow.
func captureClient(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
}
