// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// sealRaw seals a fragment without the limits that Seal keeps.
func sealRaw(t *testing.T, s *Sealer, typ handshake.ContentType, fragment []byte) []byte {
	t.Helper()
	rec, err := s.sealing.seal(nil, recordHead{typ, s.params.Version}, s.seq, fragment)
	if err != nil {
		t.Fatal(err)
	}
	s.seq++
	return rec
}

func TestPlaintextLimit(t *testing.T) {
	for _, p := range protections() {
		s, o := newPair(t, p.Params, 1)
		if _, err := s.Seal(nil, handshake.ContentApplicationData, make([]byte, handshake.MaxPlaintext+1)); !errors.Is(err, ErrRecordOverflow) {
			t.Errorf("%s: Seal: %v", p.name, err)
		}
		if p.Compression != 0 {
			continue
		}
		_, got, err := o.Open(nil, sealRaw(t, s, handshake.ContentApplicationData, make([]byte, handshake.MaxPlaintext+1)))
		if !errors.Is(err, ErrRecordOverflow) || got != nil {
			t.Errorf("%s: Open: %d bytes, %v", p.name, len(got), err)
		}
		mustOpen(t, o, mustSeal(t, s, handshake.ContentApplicationData, []byte("next")), handshake.ContentApplicationData, []byte("next"))
	}
}

func TestRecordLimit(t *testing.T) {
	for _, tt := range []struct {
		id      uint16
		version handshake.Version
		limit   int
	}{{0x002F, handshake.TLS12, handshake.MaxCiphertext}, {0x1301, handshake.TLS13, handshake.MaxPlaintext + 256}} {
		_, o := newPair(t, Params{Version: tt.version, Suite: suite(t, tt.id)}, 2)
		for n, want := range map[int]error{tt.limit: ErrMAC, tt.limit + 16: ErrRecordOverflow, 0xFFFF: ErrRecordOverflow} {
			rec := append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...)
			if _, _, err := o.Open(nil, rec); !errors.Is(err, want) {
				t.Errorf("%v: %d bytes: %v, want %v", tt.version, n, err, want)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, p := range protections() {
		s, o := newPair(t, p.Params, 3)
		rec := mustSeal(t, s, handshake.ContentApplicationData, []byte("data"))
		for name, bad := range map[string][]byte{
			"nothing":      nil,
			"half a head":  rec[:4],
			"no body":      {rec[0], rec[1], rec[2], 0, 0},
			"one byte":     {rec[0], rec[1], rec[2], 0, 1, 0},
			"a short body": rec[:len(rec)-1],
			"a long body":  append(bytes.Clone(rec), 0),
		} {
			if _, got, err := o.Open(nil, bad); !errors.Is(err, ErrMalformed) || got != nil {
				t.Errorf("%s: %s: %v", p.name, name, err)
			}
		}
		mustOpen(t, o, rec, handshake.ContentApplicationData, []byte("data"))
	}
}

// TestTLS13Inner is RFC 8446, Sections 5.1, 5.2 and 5.4.
func TestTLS13Inner(t *testing.T) {
	p := Params{Version: handshake.TLS13, Suite: suite(t, 0x1303)}
	for _, tt := range []struct {
		name      string
		typ       handshake.ContentType // the last byte of the inner plaintext
		inner     []byte
		want      error
		wantType  handshake.ContentType
		plaintext string
	}{
		{"no padding", 23, []byte("data"), nil, 23, "data"},
		{"padding", 0, []byte("data\x16\x00\x00"), nil, 22, "data"},
		{"no data", 21, nil, nil, 21, ""},
		{"padding alone", 0, make([]byte, 9), ErrMalformed, 0, ""},
		{"nothing at all", 0, nil, ErrMalformed, 0, ""},
		{"the longest padding", 0, append([]byte{'d', 23}, make([]byte, handshake.MaxPlaintext-2)...), nil, 23, "d"},
		{"too much padding", 0, append([]byte{'d', 23}, make([]byte, handshake.MaxPlaintext-1)...), ErrRecordOverflow, 0, ""},
	} {
		s, o := newPair(t, p, 4)
		typ, got, err := o.Open(nil, sealRaw(t, s, tt.typ, tt.inner))
		if !errors.Is(err, tt.want) || typ != tt.wantType || string(got) != tt.plaintext {
			t.Errorf("%s: %v, %d bytes, %v", tt.name, typ, len(got), err)
		}
	}
	s, o := newPair(t, p, 5)
	rec := mustSeal(t, s, handshake.ContentHandshake, []byte("hello"))
	if rec[0] != 23 || rec[1] != 3 || rec[2] != 3 {
		t.Errorf("header %x", rec[:3])
	}
	rec[0] = 22
	if _, _, err := o.Open(nil, rec); !errors.Is(err, ErrMalformed) {
		t.Errorf("an outer type other than application_data: %v", err)
	}
}

// sealPadded seals a record with padding as the caller wants it, in MAC-then-encrypt.
func sealPadded(t *testing.T, s *Sealer, plaintext, padding []byte) []byte {
	t.Helper()
	c := s.sealing.(*cbcSealing)
	head := []byte{23, byte(s.params.Version >> 8), byte(s.params.Version), 0, 0}
	text := append(bytes.Clone(plaintext), c.mac.compute(s.seq, head, plaintext)...)
	text = append(text, padding...)
	if len(text)%c.size != 0 {
		t.Fatalf("%d bytes are not whole blocks", len(text))
	}
	cipher.NewCBCEncrypter(c.block, c.iv[:c.size]).CryptBlocks(text, text)
	if !c.chained {
		text = append(bytes.Clone(c.iv[:c.size]), text...)
	}
	head[3], head[4] = byte(len(text)>>8), byte(len(text))
	return append(head, text...)
}

func TestPadding(t *testing.T) {
	pad := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, n+1) }
	wrong := func(n, at int) []byte { b := pad(n); b[at] ^= 1; return b }
	for _, tt := range []struct {
		name    string
		padding []byte // after 20 bytes of MAC and 8 of plaintext
		tls     bool
		ssl30   bool
	}{
		{"the shortest", pad(3), true, true},
		{"a block more", pad(19), true, false},
		{"the longest", pad(243), true, false},
		{"a wrong first byte", wrong(3, 0), false, true},
		{"a wrong first byte of many", wrong(243, 0), false, false},
		{"more than there is", []byte{200, 200, 200, 200}, false, false},
		{"all of the record", []byte{31, 31, 31, 31}, false, false},
	} {
		for v := handshake.SSL30; v <= handshake.TLS12; v++ {
			s, o := newPair(t, Params{Version: v, Suite: suite(t, 0x002F)}, 6)
			want := tt.tls
			if v == handshake.SSL30 {
				want = tt.ssl30
			}
			_, got, err := o.Open(nil, sealPadded(t, s, []byte("12345678"), tt.padding))
			if want && (err != nil || string(got) != "12345678") || !want && (!errors.Is(err, ErrMAC) || got != nil) {
				t.Errorf("%v: %s: %q, %v", v, tt.name, got, err)
			}
		}
	}
}

// TestSealAppends: Seal keeps what dst has, and leaves it alone on an error.
func TestSealAppends(t *testing.T) {
	for _, p := range protections() {
		s, o := newPair(t, p.Params, 7)
		dst, err := s.Seal([]byte("before"), handshake.ContentAlert, []byte{1, 0})
		if err != nil || string(dst[:6]) != "before" {
			t.Fatalf("%s: %q, %v", p.name, dst, err)
		}
		mustOpen(t, o, dst[6:], handshake.ContentAlert, []byte{1, 0})
		if got, err := s.Seal(dst, handshake.ContentAlert, make([]byte, 1<<15)); err == nil || len(got) != len(dst) {
			t.Errorf("%s: %d bytes, %v", p.name, len(got), err)
		}
	}
}
