// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// memory returns the most memory that a process has had, in bytes.
func memory(t *testing.T, p *process) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			must(t, err)
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestBackPressure has a server that writes as fast as it can, and a client that does not read: the
// server must be held back, in bounded memory, and nothing may be lost.
func TestBackPressure(t *testing.T) {
	const size, buffers = 64 << 20, 32 << 20
	ctx := bound(t, 2*time.Minute)
	l := newLab(t)
	b := l.inline(ctx)
	piece := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	stuck := make(chan int, 1)
	at, done := l.accept(t, func(c net.Conn) error {
		conn := tls.Server(c, goServerConfig(l, serving{}))
		if err := conn.Handshake(); err != nil {
			return err
		}
		return flood(conn, piece, size, stuck)
	})
	c := tls.Client(l.connect(t, at), goClientConfig(l, visiting{version: handshake.TLS12}))
	must(t, c.Handshake())
	if n := <-stuck; n > buffers {
		t.Errorf("%d bytes were taken from a server whose client does not read", n)
	}
	if used := memory(t, b.process); used > 128<<20 {
		t.Errorf("the box took %d MiB", used>>20)
	}
	got := make([]byte, len(piece))
	for range size / len(piece) {
		_, err := io.ReadFull(c, got)
		must(t, err)
		if !bytes.Equal(got, piece) {
			t.Fatal("not what the server sent")
		}
	}
	must(t, c.Close())
	done()
	b.close() // its pcapng may miss what came too fast for the disk
	flows, err := b.flows()
	must(t, err)
	if len(flows) != 1 || flows[0].Outcome != "read" {
		t.Errorf("%v", flows)
	}
}

// flood writes until a write has to wait, tells how much that was, and writes the rest.
func flood(conn net.Conn, piece []byte, size int, stuck chan<- int) error {
	sent := make(chan error, 1)
	var written int
	progress := make(chan int, size/len(piece))
	go func() {
		for written < size {
			n, err := conn.Write(piece)
			if err != nil {
				sent <- err
				return
			}
			written += n
			progress <- written
		}
		sent <- nil
	}()
	// A write that takes this long waits for the client.
	still := time.NewTimer(time.Second)
	defer still.Stop()
	last := 0
	for told := false; ; {
		select {
		case last = <-progress:
			still.Reset(time.Second)
		case <-still.C:
			if !told {
				told = true
				stuck <- last
			}
		case err := <-sent:
			if !told {
				stuck <- size
			}
			return err
		}
	}
}
