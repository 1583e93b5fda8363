// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// TestLookAhead feeds many records at once, of which some are damaged, some come before new keys and some after,
// and sees the same as in pieces, where no record is opened together with the next.
func TestLookAhead(t *testing.T) {
	for _, tt := range []struct {
		version handshake.Version
		etm     bool
	}{{handshake.TLS10, false}, {handshake.TLS12, false}, {handshake.TLS12, true}} {
		t.Run(fmt.Sprintf("%v, EtM %v", tt.version, tt.etm), func(t *testing.T) {
			o := options(tt.version, rsaAES256SHA)
			o.EtM = tt.etm
			c := forge.New(o)
			for range 2 {
				for i := range 9 {
					c.Send(handshake.Server, bytes.Repeat([]byte{byte(i)}, 100+50*i))
				}
				c.HelloRequest()
				c.Handshake(o)
			}
			c.Send(handshake.Server, make([]byte, 40000))
			c.Alert(handshake.Server, handshake.Alert{Level: handshake.Warning})
			segments := joined(c.Segments)
			base := newRig(t, remembering)
			// Everything at first as it is, then one bit after another of the server's turned.
			causes := make(map[Cause]int)
			for at := -1; at < len(c.Bytes(handshake.Server)); at += 101 {
				var stories [2]string
				for i, size := range []int{1 << 20, 77} {
					g := base.next()
					feedDamaged(g, segments, at, size)
					f := g.finish()
					causes[f.Cause]++
					stories[i] = fmt.Sprint(f.Cause, f.Detail, f.Outcome, f.Records, f.Plaintext, g.story())
				}
				if stories[0] != stories[1] {
					t.Fatalf("damaged at %d: at once:\n%s\nin pieces:\n%s", at, abridged(stories[0]), abridged(stories[1]))
				}
			}
			if causes[CauseNone] < 2 || causes[DecryptFailed] < 20 {
				t.Errorf("causes: %v", causes)
			}
		})
	}
}

// joined makes one segment of those in a row that are of one side.
func joined(segments []forge.Segment) (all []forge.Segment) {
	for _, s := range segments {
		if n := len(all); n > 0 && all[n-1].Side == s.Side {
			all[n-1].Data = append(all[n-1].Data[:len(all[n-1].Data):len(all[n-1].Data)], s.Data...)
			continue
		}
		all = append(all, s)
	}
	return all
}

// feedDamaged feeds segments in pieces, with a bit of the server's byte at turned.
func feedDamaged(g *rig, segments []forge.Segment, at, size int) {
	for _, s := range segments {
		b := bytes.Clone(s.Data)
		if s.Side == handshake.Server {
			if at >= 0 && at < len(b) {
				b[at] ^= 4
			}
			at -= len(b)
		}
		for len(b) > 0 {
			n := min(size, len(b))
			g.Feed(s.Side, testStart, b[:n])
			for i := range n {
				b[i] = 0 // what was fed is the caller's again
			}
			b = b[n:]
		}
	}
}
