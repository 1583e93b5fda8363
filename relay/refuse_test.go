// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

func TestRefusalByAlert(t *testing.T) {
	r := newRig(t, Config{}, func(e *fake) {
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if i := bytes.IndexByte(b, '!'); side == server && i >= 0 {
				e.held[server] = len(b) - i
				e.alertBoth(session.TLS13)
			}
		}
	})
	c, s := r.pair()
	send(t, c, "hello")
	expect(t, s, "hello")
	send(t, s, "released!and this is not"+strings.Repeat("x", 1<<20))
	// Both peers go on to send: the alert must arrive all the same, and no reset before it.
	send(t, c, strings.Repeat("y", 1<<20))
	expect(t, c, "releasedalert to client")
	expectEOF(t, c)
	_ = c.Close()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.HasSuffix(got, []byte("alert to server")) {
		t.Errorf("the server got %d bytes, %v", len(got), err)
	}
	_ = s.Close()
	r.wantEnded(EndedRefused)
	if got := r.relay.Stats().Refused[session.TLS13]; got != 1 {
		t.Errorf("counted %d refusals", got)
	}
}

func TestRefusalDoesNotWaitForEver(t *testing.T) {
	r := newRig(t, Config{RefuseTimeout: 50 * time.Millisecond}, func(e *fake) {
		e.ahead = all
		e.onFeed = func(e *fake, side handshake.Side, b []byte) {
			if side == client {
				e.alertBoth(session.TLS13)
			}
		}
	})
	c, s := r.pair()
	go func() { // the client reads nothing of all this, so the alert cannot follow it
		_, _ = s.Write(make([]byte, 64<<20))
	}()
	if !eventually(func() bool { return r.relay.Stats().Bytes[server] > 64<<10 }) {
		t.Fatal("nothing was relayed")
	}
	send(t, c, "x")
	r.wantEnded(EndedRefused)
}
