// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// hotSuites are those that most records are protected with, and one of each kind of the others.
var hotSuites = []struct {
	id      uint16
	version handshake.Version
	etm     bool
}{
	{0x009C, handshake.TLS12, false}, // AES-128-GCM
	{0x009D, handshake.TLS12, false},
	{0x1301, handshake.TLS13, false},
	{0xCCA8, handshake.TLS12, false}, // ChaCha20-Poly1305
	{0x002F, handshake.SSL30, false}, // AES-128-CBC, SHA-1
	{0x002F, handshake.TLS10, false},
	{0x002F, handshake.TLS12, false},
	{0x0035, handshake.TLS12, false},
	{0x003C, handshake.TLS12, false}, // AES-128-CBC, SHA-256
	{0x003D, handshake.TLS12, true},
	{0x0005, handshake.TLS12, false}, // RC4
	{0x000A, handshake.TLS10, false}, // 3DES
}

func TestOpenAllocatesNothing(t *testing.T) {
	for _, h := range hotSuites {
		p := Params{Version: h.version, Suite: suite(t, h.id), EncryptThenMAC: h.etm}
		if p.Suite.Cipher == handshake.CipherCHACHA20POLY1305 {
			continue // its portable code allocates
		}
		s, o := newPair(t, p, 1)
		const runs = 20
		var recs [][]byte
		for range runs + 2 {
			recs = append(recs, mustSeal(t, s, handshake.ContentApplicationData, make([]byte, 5000)))
		}
		buf := make([]byte, handshake.MaxCiphertext)
		next := func() {
			if _, _, err := o.Open(buf, recs[0]); err != nil {
				t.Fatal(err)
			}
			recs = recs[1:]
		}
		next() // HMAC keeps the state of its first use
		if n := testing.AllocsPerRun(runs, next); n != 0 {
			t.Errorf("%s, %v: %v allocations a record", p.Suite.Name, p.Version, n)
		}
	}
}

// TestOpenerIsSmall keeps the memory of idle flows in bounds.
func TestOpenerIsSmall(t *testing.T) {
	const n, limit = 1000, 2500 // bytes of one direction
	for _, h := range hotSuites {
		p := Params{Version: h.version, Suite: suite(t, h.id), EncryptThenMAC: h.etm}
		openers := make([]*Opener, n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range openers {
			var s *Sealer
			s, openers[i] = newPair(t, p, 1)
			mustOpen(t, openers[i], mustSeal(t, s, handshake.ContentAlert, []byte{1, 0}), handshake.ContentAlert, []byte{1, 0})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		size := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
		t.Logf("%s, %v: %d bytes", p.Suite.Name, p.Version, size)
		if size > limit {
			t.Errorf("%s, %v: %d bytes", p.Suite.Name, p.Version, size)
		}
		runtime.KeepAlive(openers)
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, h := range hotSuites {
		for _, n := range []int{1 << 10, handshake.MaxPlaintext} {
			p := Params{Version: h.version, Suite: suite(b, h.id), EncryptThenMAC: h.etm}
			b.Run(fmt.Sprintf("%s/%v/%d", p.Suite.Name, p.Version, n), func(b *testing.B) {
				s, o := newPair(b, p, 1)
				rec := mustSeal(b, s, handshake.ContentApplicationData, make([]byte, n))
				buf := make([]byte, handshake.MaxCiphertext)
				first := o.Clone().opening
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					o.SetSequence(0)
					o.opening.resume(first)
					if _, _, err := o.Open(buf, rec); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
