// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"io"
	"testing"

	"github.com/sightglass/sightglass/session"
)

// BenchmarkBulk is what a byte costs on its way through, from the server, with an engine that does
// nothing: client and server are in the same process and cost as much again.
func BenchmarkBulk(b *testing.B) {
	for _, bm := range []struct {
		name   string
		script func(e *fake)
	}{
		{"ahead", func(e *fake) { e.ahead, e.verdict, e.discard = all, session.Relay, true }},
		{"spliced", bypass},
	} {
		b.Run(bm.name, func(b *testing.B) {
			r := newRig(b, Config{}, bm.script)
			c, s := r.pair()
			const chunk = 256 << 10
			b.SetBytes(chunk)
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				buf := make([]byte, chunk)
				for range b.N {
					if _, err := s.Write(buf); err != nil {
						return
					}
				}
				_ = s.CloseWrite()
			}()
			n, err := io.Copy(io.Discard, c)
			if err != nil || n != int64(b.N)*chunk {
				b.Fatalf("%d bytes, %v", n, err)
			}
		})
	}
}

// BenchmarkFlow is a whole flow: accept, dial, an exchange, both ends.
func BenchmarkFlow(b *testing.B) {
	r := newRig(b, Config{}, func(e *fake) { e.ahead, e.verdict, e.discard = all, session.Relay, true })
	b.ReportAllocs()
	for range b.N {
		c, s := r.pair()
		send(b, c, "request")
		expect(b, s, "request")
		send(b, s, "answer")
		expect(b, c, "answer")
		_, _ = c.Close(), s.Close()
	}
}

// BenchmarkRoundTrip is one exchange on a flow that lives.
func BenchmarkRoundTrip(b *testing.B) {
	r := newRig(b, Config{}, func(e *fake) { e.ahead, e.verdict, e.discard = all, session.Relay, true })
	c, s := r.pair()
	buf := make([]byte, 100)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		_, _ = c.Write(buf)
		_, _ = io.ReadFull(s, buf)
		_, _ = s.Write(buf)
		_, _ = io.ReadFull(c, buf)
	}
}
