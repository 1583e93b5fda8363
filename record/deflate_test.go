// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"compress/zlib"
	"errors"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// TestInflateVectors decompresses what zlib 1.2 made, with Z_SYNC_FLUSH as OpenSSL and GnuTLS do:
// later records refer to earlier ones.
func TestInflateVectors(t *testing.T) {
	const get = "GET /index.html HTTP/1.1\r\nHost: example.com\r\nAccept: text/html\r\n\r\n"
	var f inflater
	for _, tt := range []struct{ compressed, plain string }{
		{"789c126160e06160646266616563e7e0e4e206000000ffff", "\x14\x00\x00\x0c\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b"},
		{"72770d51d0cfcc4b49add0cb28c9cd51f0080909d037d433e4e5f2c82f2eb15248ad48cc2dc849d54bcecfe5e5724c4e4e2d000a96a45694e88394f372f17201000000ffff", get},
		{"a2dc0400000000ffff", get},
		{"000000ffff", ""},
		{"1a0c2600000000ffff", get + get},
		{"2bc9485548cd4b0100d4ff541f", "the end"},
	} {
		got, err := f.inflate(nil, unhex(t, tt.compressed))
		if err != nil || string(got) != tt.plain {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if _, err := f.inflate(nil, []byte{0, 0, 0, 0xFF, 0xFF}); !errors.Is(err, ErrMalformed) {
		t.Errorf("beyond the end: %v", err)
	}
}

// TestPeerCompresses takes a peer that keeps one compressor for the direction, over more than a
// window of data, and a clone in the middle.
func TestPeerCompresses(t *testing.T) {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	r := newRand(1)
	text := randomBytes(r, 3000)
	f := new(inflater)
	both := []*inflater{f}
	buf := make([]byte, handshake.MaxCiphertext)
	for i := range 40 {
		plain := append(randomBytes(r, 100), text[i:]...)
		out.Reset()
		w.Write(plain)
		w.Flush()
		if i > 0 && i < 8 && out.Len() > 1000 {
			t.Fatalf("record %d does not refer to earlier ones", i)
		}
		if i == 20 {
			both = append(both, f.clone())
		}
		for _, f := range both {
			got, err := f.inflate(buf, out.Bytes())
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("record %d: %d bytes, %v", i, len(got), err)
			}
			if &got[0] != &buf[0] {
				t.Fatal("the plaintext is not in the buffer")
			}
			if len(f.window) > windowLen || cap(f.window) > 2*windowLen {
				t.Fatalf("a window of %d bytes", cap(f.window))
			}
		}
	}
}

func compress(t *testing.T, plain []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestInflateRefuses(t *testing.T) {
	good := compress(t, []byte("good"))
	for _, tt := range []struct {
		name     string
		fragment []byte
		want     error
	}{
		{"a bomb", compress(t, make([]byte, handshake.MaxPlaintext+1)), ErrRecordOverflow},
		{"a big bomb", compress(t, make([]byte, 1<<24)), ErrRecordOverflow},
		{"no header", good[2:], ErrMalformed},
		{"a bad header check", append([]byte{0x78, 0x02}, good[2:]...), ErrMalformed},
		{"a window that is too long", append([]byte{0x88, 0x1C}, good[2:]...), ErrMalformed},
		{"a preset dictionary", append([]byte{0x78, 0x20}, good[2:]...), ErrMalformed},
		{"half a header", good[:1], ErrMalformed},
		{"no flush", good[:len(good)-5], ErrMalformed},
		{"half a flush", good[:len(good)-1], ErrMalformed},
		{"a reserved block type", []byte{0x78, 0x01, 0x07, 0, 0, 0xFF, 0xFF}, ErrMalformed},
		{"a distance too far back", []byte{0x78, 0x01, 0x03, 0x02, 0, 0, 0, 0xFF, 0xFF}, ErrMalformed},
	} {
		var f inflater
		got, err := f.inflate(nil, tt.fragment)
		if !errors.Is(err, tt.want) || got != nil {
			t.Errorf("%s: %d bytes, %v", tt.name, len(got), err)
		}
		if _, err := f.inflate(nil, good); !errors.Is(err, ErrStreamLost) {
			t.Errorf("%s: afterwards: %v", tt.name, err)
		}
	}
	var f inflater
	if got, err := f.inflate(nil, compress(t, make([]byte, handshake.MaxPlaintext))); err != nil || len(got) != handshake.MaxPlaintext {
		t.Errorf("the longest plaintext: %d bytes, %v", len(got), err)
	}
}

// TestCompressedOverflowCounts: an authentic record that is refused is still one record.
func TestCompressedOverflowCounts(t *testing.T) {
	p := Params{Version: handshake.TLS12, Suite: suite(t, 0x009C), Compression: 1}
	k := randomKeys(newRand(2), p)
	o, err := NewOpener(p, k)
	if err != nil {
		t.Fatal(err)
	}
	p.Compression = 0
	s, err := NewSealer(p, k)
	if err != nil {
		t.Fatal(err)
	}
	bomb := mustSeal(t, s, handshake.ContentApplicationData, compress(t, make([]byte, 1<<20)))
	if _, got, err := o.Open(nil, bomb); !errors.Is(err, ErrRecordOverflow) || got != nil {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if o.Sequence() != 1 {
		t.Errorf("sequence number %d", o.Sequence())
	}
	if _, _, err := o.Open(nil, mustSeal(t, s, handshake.ContentApplicationData, nil)); !errors.Is(err, ErrStreamLost) {
		t.Errorf("afterwards: %v", err)
	}
}
