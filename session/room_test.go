// SPDX-License-Identifier: Apache-2.0

package session

import (
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// lender lends room for plaintext, and writes into it at every event that does not carry what is there.
type lender struct {
	watcher
	room [handshake.MaxCiphertext]byte
	kept int // events that stood in the room
}

func (l *lender) lend(n int) []byte { return l.room[:0:n] }

func (l *lender) Event(e *Event) {
	if e.Kind == KindData && &e.Data[0] == &l.room[0] {
		l.kept++
	}
	l.watcher.Event(e)
	l.room = [handshake.MaxCiphertext]byte{}
}

// TestRoom has records of a handler that lends room say the same as those of others, whatever is in them.
func TestRoom(t *testing.T) {
	for _, suite := range []uint16{rsaAES128SHA, rsaAES128GCM} {
		o := options(handshake.TLS12, suite)
		c := forge.New(o)
		c.Send(handshake.Client, []byte("request"))
		c.Send(handshake.Server, make([]byte, 100_000))
		c.HelloRequest()
		c.Handshake(withClient(o))
		c.Send(handshake.Server, []byte("response"))
		c.Alert(handshake.Server, handshake.Alert{Level: handshake.Warning, Description: handshake.AlertCloseNotify})

		plain := newRig(t, remembering)
		plain.play(c.Segments)
		wantRead(t, plain.finish())

		l := new(lender)
		cfg := *plain.cfg
		cfg.Handler, cfg.Room = l, l.lend
		s := New(&cfg, *plain.Flow())
		for _, seg := range c.Segments {
			s.Feed(seg.Side, testStart, seg.Data)
		}
		s.CloseSide(handshake.Client, testStart)
		s.CloseSide(handshake.Server, testStart)
		wantRead(t, s.End(testStart))
		if l.story() != plain.story() {
			t.Errorf("%s: another story", handshake.SuiteName(suite))
		}
		if l.kept < 3 {
			t.Errorf("%s: %d events in the room that was lent", handshake.SuiteName(suite), l.kept)
		}
	}
}
