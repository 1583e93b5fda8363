// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

func isChained(p Params) bool {
	return p.Suite.Cipher.Params().Kind == handshake.KindBlock && chained(p.Version)
}

// isRC4 says whether records can only be opened at their place in a keystream.
func isRC4(p Params) bool {
	return p.Suite.Cipher.Params().Kind == handshake.KindStream && p.Suite.Cipher != handshake.CipherNULL
}

// seals makes n records of various lengths; record i holds message(i).
func seals(t testing.TB, s *Sealer, n int) (recs [][]byte) {
	for i := range n {
		recs = append(recs, mustSeal(t, s, handshake.ContentApplicationData, message(i)))
	}
	return recs
}

func message(i int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("message %d;", i)), 1+i*7%40) }

func total(recs [][]byte) (wire, bodies int) {
	for _, r := range recs {
		wire += len(r)
	}
	return wire, wire - len(recs)*handshake.RecordHeaderLen
}

func mustResync(t *testing.T, o *Opener, rec []byte, window int, want []byte, skipped uint64) {
	t.Helper()
	before := bytes.Clone(rec)
	typ, got, n, err := o.Resync(nil, rec, window)
	if err != nil {
		t.Fatal(err)
	}
	if typ != handshake.ContentApplicationData || !bytes.Equal(got, want) || n != skipped {
		t.Fatalf("got %v %.30q, %d skipped; want %.30q, %d", typ, got, n, want, skipped)
	}
	if !bytes.Equal(rec, before) {
		t.Fatal("the record was modified")
	}
}

// TestResync loses nine records, of which only the bytes are counted, and reads on.
func TestResync(t *testing.T) {
	for _, p := range protections() {
		if p.Compression != 0 {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			s, o := newPair(t, p.Params, 1)
			recs := seals(t, s, 14)
			mustOpen(t, o, recs[0], handshake.ContentApplicationData, message(0))
			wire, _ := total(recs[1:10])
			o.LoseRecords(wire)
			if isRC4(p.Params) {
				if _, _, err := o.Open(nil, recs[10]); !errors.Is(err, ErrStreamLost) {
					t.Fatalf("without a search: %v", err)
				}
				if _, err := o.Sealer().Seal(nil, handshake.ContentAlert, nil); !errors.Is(err, ErrStreamLost) {
					t.Fatalf("sealing: %v", err)
				}
			}
			next := 10
			if isChained(p.Params) {
				if _, err := o.Sealer().Seal(nil, handshake.ContentAlert, nil); !errors.Is(err, ErrIVLost) {
					t.Fatalf("sealing: %v", err)
				}
				if _, _, _, err := o.Resync(nil, recs[10], 10); !errors.Is(err, ErrIVLost) {
					t.Fatalf("the first record: %v", err)
				}
				next = 11
			}
			if _, _, _, err := o.Clone().Resync(nil, recs[next], 9); !explicitNonce(p.Params) && !errors.Is(err, ErrMAC) {
				t.Fatalf("beyond the window: %v", err)
			}
			mustResync(t, o.Clone(), recs[next], 10, message(next), 9)
			mustResync(t, o, recs[next], 1000, message(next), 9)
			for i := next + 1; i < len(recs); i++ {
				mustOpen(t, o, recs[i], handshake.ContentApplicationData, message(i))
			}
		})
	}
}

func explicitNonce(p Params) bool {
	return p.Version != handshake.TLS13 && p.Suite.Cipher.Params().ExplicitNonceLen > 0
}

// TestLose loses records of which the length of the bodies is known.
func TestLose(t *testing.T) {
	for _, p := range protections() {
		if p.Compression != 0 {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			s, o := newPair(t, p.Params, 2)
			recs := seals(t, s, 6)
			o.Lose(0)
			mustOpen(t, o, recs[0], handshake.ContentApplicationData, message(0))
			_, bodies := total(recs[1:4])
			o.Lose(bodies)
			o.Preceded(recs[3][len(recs[3])-min(len(recs[3])-handshake.RecordHeaderLen, 70):])
			o = o.Clone()
			mustResync(t, o, recs[4], 20, message(4), 3)
			mustOpen(t, o, recs[5], handshake.ContentApplicationData, message(5))
		})
	}
}

// TestLoseUnknown loses an unknown number of bytes.
func TestLoseUnknown(t *testing.T) {
	for _, p := range protections() {
		s, o := newPair(t, p.Params, 3)
		recs := seals(t, s, 4)
		mustOpen(t, o, recs[0], handshake.ContentApplicationData, message(0))
		o.Lose(-1)
		_, _, _, err := o.Resync(nil, recs[2], 10)
		want := error(nil)
		switch {
		case isChained(p.Params):
			want = ErrIVLost
		case isRC4(p.Params), p.Compression != 0:
			want = ErrStreamLost
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", p.name, err, want)
		}
	}
}

func TestPrecededTooShort(t *testing.T) {
	s, o := newPair(t, Params{Version: handshake.TLS10, Suite: suite(t, 0x002F)}, 4)
	recs := seals(t, s, 2)
	o.Lose(-1)
	o.Preceded(recs[0][len(recs[0])-15:])
	if _, _, _, err := o.Resync(nil, recs[1], 3); !errors.Is(err, ErrIVLost) {
		t.Errorf("got %v", err)
	}
}

func TestLoseTooMuch(t *testing.T) {
	p := Params{Version: handshake.TLS12, Suite: suite(t, 0x0005)}
	for _, lose := range []func(*Opener){
		func(o *Opener) { o.Lose(maxSkip + 1) },
		func(o *Opener) { o.LoseRecords(maxSkip + 1) },
		func(o *Opener) { o.LoseRecords(maxSkip); o.LoseRecords(1) },
		func(o *Opener) { o.LoseRecords(-1) },
	} {
		s, o := newPair(t, p, 5)
		lose(o)
		if _, _, _, err := o.Resync(nil, seals(t, s, 1)[0], 10); !errors.Is(err, ErrStreamLost) {
			t.Errorf("got %v", err)
		}
	}
}

// TestGapTwice loses records of RC4 twice before one is found.
func TestGapTwice(t *testing.T) {
	s, o := newPair(t, Params{Version: handshake.TLS12, Suite: suite(t, 0x0005)}, 6)
	recs := seals(t, s, 10)
	first, _ := total(recs[:3])
	second, _ := total(recs[3:8])
	o.LoseRecords(first)
	if _, _, _, err := o.Resync(nil, bytes.Repeat([]byte{23, 3, 3, 0, 30}, 7), 10); !errors.Is(err, ErrMAC) {
		t.Fatalf("no record: %v", err)
	}
	o.LoseRecords(second)
	mustResync(t, o.Clone(), recs[8], 100, message(8), 8)
	mustResync(t, o, recs[8], 9, message(8), 8)
	mustOpen(t, o, recs[9], handshake.ContentApplicationData, message(9))
}

// TestExplicitNonce finds a record far beyond the window by its nonce, be it the sequence number or
// a number that was counted from elsewhere.
func TestExplicitNonce(t *testing.T) {
	for _, id := range []uint16{0x009C, 0xC09C, 0xC07A, 0xC050} {
		for _, start := range []uint64{0, 1 << 63, 0xFFFFFFFFFFFFFFFE} {
			s, o := newPair(t, Params{Version: handshake.TLS12, Suite: suite(t, id)}, 7)
			s.sealing.(*aeadSealing).drift = start
			mustOpen(t, o, seals(t, s, 1)[0], handshake.ContentApplicationData, message(0))
			s.seq += 5_000_000
			o = o.Clone()
			mustResync(t, o, seals(t, s, 1)[0], 10, message(0), 5_000_000)
		}
		// A nonce that tells nothing leaves the search.
		s, o := newPair(t, Params{Version: handshake.TLS12, Suite: suite(t, id)}, 8)
		s.seq = 30
		s.sealing.(*aeadSealing).drift = 12345
		rec := seals(t, s, 1)[0]
		mustResync(t, o, rec, 31, message(0), 30)
		// No record is found again behind the expected number.
		if _, _, _, err := o.Resync(nil, rec, 100); !errors.Is(err, ErrMAC) {
			t.Errorf("%04x: a replay: %v", id, err)
		}
	}
}

// TestSealerNonce: a sealer that continues a direction must not repeat the peer's nonces.
func TestSealerNonce(t *testing.T) {
	s, o := newPair(t, Params{Version: handshake.TLS12, Suite: suite(t, 0x009C)}, 9)
	seen := make(map[uint64]bool)
	note := func(recs ...[]byte) {
		for _, rec := range recs {
			n := binary.BigEndian.Uint64(rec[handshake.RecordHeaderLen:])
			if seen[n] {
				t.Fatalf("nonce %d came twice", n)
			}
			seen[n] = true
		}
	}
	note(seals(t, s, 5)...)
	note(seals(t, o.Sealer(), 5)...)
	note(seals(t, o.Sealer(), 5)...)
}

func TestSetSequence(t *testing.T) {
	s, o := newPair(t, Params{Version: handshake.TLS13, Suite: suite(t, 0x1301)}, 10)
	recs := seals(t, s, 3)
	o.SetSequence(2)
	if got := o.Sequence(); got != 2 {
		t.Fatalf("got %d", got)
	}
	mustOpen(t, o, recs[2], handshake.ContentApplicationData, message(2))
}

// TestResyncAtTheEnd: a sequence number that wraps round is nobody's, but must not loop.
func TestResyncAtTheEnd(t *testing.T) {
	s, o := newPair(t, Params{Version: handshake.TLS12, Suite: suite(t, 0xC09C)}, 11)
	o.SetSequence(1<<64 - 2)
	s.seq = 1<<64 - 1
	mustResync(t, o, seals(t, s, 1)[0], 5, message(0), 1)
	if o.Sequence() != 0 {
		t.Errorf("got %d", o.Sequence())
	}
}
