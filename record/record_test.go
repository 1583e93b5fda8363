// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// newRand returns a source that gives the same bytes in every run.
func newRand(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func randomBytes(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

// randomKeys returns keys as NewOpener takes them.
func randomKeys(r *rand.ChaCha8, p Params) Keys {
	mac, _, iv := KeySizes(p)
	return Keys{randomBytes(r, mac), randomBytes(r, p.Suite.Cipher.Params().ExpandedKeyLen), randomBytes(r, iv)}
}

func suite(t testing.TB, id uint16) *handshake.Suite {
	s, ok := handshake.SuiteByID(id)
	if !ok {
		t.Fatalf("no suite 0x%04x", id)
	}
	return s
}

// protection is one way to protect records.
type protection struct {
	name string
	Params
}

// protections returns one protection for each cipher and MAC that the suite table has, in every
// version, with and without encrypt-then-MAC and compression.
func protections() (all []protection) {
	type kind struct {
		c handshake.Cipher
		m handshake.MAC
		t bool
	}
	seen := make(map[kind]bool)
	for id := range 0x10000 {
		s, ok := handshake.SuiteByID(uint16(id))
		if !ok || s.Cipher == handshake.CipherUnknown {
			continue
		}
		k := kind{s.Cipher, s.MAC, s.KeyExchange == handshake.KeyExchangeTLS13}
		if seen[k] {
			continue
		}
		seen[k] = true
		all = append(all, variants(s)...)
	}
	return all
}

func variants(s *handshake.Suite) (all []protection) {
	for v := handshake.SSL30; v <= handshake.TLS13; v++ {
		for _, etm := range []bool{false, true} {
			for compression := range uint8(2) {
				p := Params{v, s, etm, compression}
				if etm && s.Cipher.Params().Kind != handshake.KindBlock || !sound(p, s.Cipher.Params()) {
					continue
				}
				name := fmt.Sprintf("%s/%v/%d", s.Name, v, compression)
				if etm {
					name += "/EtM"
				}
				all = append(all, protection{name, p})
			}
		}
	}
	return all
}

func newPair(t testing.TB, p Params, seed byte) (*Sealer, *Opener) {
	k := randomKeys(newRand(seed), p)
	s, err := NewSealer(p, k)
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOpener(p, k)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

func mustSeal(t testing.TB, s *Sealer, typ handshake.ContentType, plaintext []byte) []byte {
	t.Helper()
	rec, err := s.Seal(nil, typ, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func mustOpen(t testing.TB, o *Opener, rec []byte, typ handshake.ContentType, plaintext []byte) {
	t.Helper()
	before := bytes.Clone(rec)
	gotType, got, err := o.Open(nil, rec)
	if err != nil {
		t.Fatalf("record %d: %v", o.Sequence(), err)
	}
	if gotType != typ || !bytes.Equal(got, plaintext) {
		t.Fatalf("got %v %.40x (%d bytes), want %v %.40x (%d bytes)", gotType, got, len(got), typ, plaintext, len(plaintext))
	}
	if !bytes.Equal(before, rec) {
		t.Fatal("the record was modified")
	}
}

var sizes = []int{0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 255, 256, 257, 1000, 1399, handshake.MaxPlaintext - 1, handshake.MaxPlaintext}

func TestRoundTrip(t *testing.T) {
	for _, p := range protections() {
		t.Run(p.name, func(t *testing.T) {
			r := newRand(1)
			s, o := newPair(t, p.Params, 2)
			for i, n := range sizes {
				plaintext := randomBytes(r, n)
				if i%2 == 0 {
					plaintext = bytes.Repeat([]byte("compressible "), n/13+1)[:n]
				}
				typ := handshake.ContentChangeCipherSpec + handshake.ContentType(i%5)
				mustOpen(t, o, mustSeal(t, s, typ, plaintext), typ, plaintext)
			}
			if got := o.Sequence(); got != uint64(len(sizes)) {
				t.Errorf("sequence number %d after %d records", got, len(sizes))
			}
		})
	}
}

// TestContinue takes clones and sealers in the middle of a direction; all go on from there, and none
// disturbs another.
func TestContinue(t *testing.T) {
	for _, p := range protections() {
		t.Run(p.name, func(t *testing.T) {
			s, o := newPair(t, p.Params, 3)
			a, b, c := []byte("the first record"), []byte("the second one"), []byte("of the box")
			mustOpen(t, o, mustSeal(t, s, handshake.ContentHandshake, a), handshake.ContentHandshake, a)
			clone, again, mine := o.Clone(), o.Clone(), o.Sealer()
			rec := mustSeal(t, s, handshake.ContentApplicationData, b)
			mustOpen(t, o, rec, handshake.ContentApplicationData, b)
			mustOpen(t, clone, rec, handshake.ContentApplicationData, b)
			mustOpen(t, again, mustSeal(t, mine, handshake.ContentAlert, c), handshake.ContentAlert, c)
			mustOpen(t, again, mustSeal(t, mine, handshake.ContentAlert, b), handshake.ContentAlert, b)
			rec = mustSeal(t, s, handshake.ContentApplicationData, a)
			mustOpen(t, clone, rec, handshake.ContentApplicationData, a)
			mustOpen(t, o, rec, handshake.ContentApplicationData, a)
		})
	}
}

// TestModified changes each byte of a record in turn. What still opens must be the very plaintext:
// SSL 3.0 verifies neither the version nor the padding.
func TestModified(t *testing.T) {
	plaintext := []byte("some plaintext of more than a block")
	for _, p := range protections() {
		t.Run(p.name, func(t *testing.T) {
			s, o := newPair(t, p.Params, 4)
			rec := mustSeal(t, s, handshake.ContentApplicationData, plaintext)
			opened := 0
			for i := range rec {
				bad := bytes.Clone(rec)
				bad[i] ^= 1 << (i % 8)
				typ, got, err := o.Clone().Open(nil, bad)
				if err == nil {
					opened++
					if typ != handshake.ContentApplicationData || !bytes.Equal(got, plaintext) {
						t.Fatalf("byte %d: plaintext of a modified record", i)
					}
				} else if got != nil || typ != 0 {
					t.Fatalf("byte %d: plaintext beside %v", i, err)
				}
			}
			if opened > 0 && p.Version > handshake.SSL30 {
				t.Errorf("%d modified records were opened", opened)
			}
			for n := range rec {
				if _, got, err := o.Clone().Open(nil, rec[:n]); err == nil || got != nil {
					t.Fatalf("a record cut to %d bytes was opened", n)
				}
			}
			mustOpen(t, o, rec, handshake.ContentApplicationData, plaintext)
		})
	}
}

// TestFailureChangesNothing: a record that is not authentic leaves the opener as it was.
func TestFailureChangesNothing(t *testing.T) {
	for _, p := range protections() {
		t.Run(p.name, func(t *testing.T) {
			s, o := newPair(t, p.Params, 5)
			for i := range 3 {
				plaintext := bytes.Repeat([]byte{byte(i)}, 100)
				rec := mustSeal(t, s, handshake.ContentApplicationData, plaintext)
				bad := bytes.Clone(rec)
				bad[len(bad)/2] ^= 1
				if _, _, err := o.Open(nil, bad); !errors.Is(err, ErrMAC) {
					t.Fatalf("got %v", err)
				}
				mustOpen(t, o, rec, handshake.ContentApplicationData, plaintext)
				if _, _, err := o.Open(nil, rec); !errors.Is(err, ErrMAC) {
					t.Fatalf("a record was opened twice: %v", err)
				}
			}
		})
	}
}

func TestOpenIntoBuffer(t *testing.T) {
	for _, p := range protections() {
		s, o := newPair(t, p.Params, 6)
		buf := make([]byte, 10, handshake.MaxCiphertext)
		_, got, err := o.Open(buf, mustSeal(t, s, handshake.ContentApplicationData, make([]byte, handshake.MaxPlaintext)))
		if err != nil {
			t.Fatal(err)
		}
		if p.Suite.Cipher != handshake.CipherNULL && &got[0] != &buf[0] {
			t.Errorf("%s: the plaintext is not in the buffer", p.name)
		}
	}
}

func TestNewOpenerRefuses(t *testing.T) {
	cbc, gcm, tls13 := suite(t, 0x002F), suite(t, 0x009C), suite(t, 0x1301)
	for _, tt := range []struct {
		name string
		p    Params
	}{
		{"no suite", Params{Version: handshake.TLS12}},
		{"SSL 2.0", Params{Version: handshake.SSL20, Suite: cbc}},
		{"an unknown version", Params{Version: 0x0305, Suite: cbc}},
		{"GCM in TLS 1.1", Params{Version: handshake.TLS11, Suite: gcm}},
		{"GCM of TLS 1.2 in TLS 1.3", Params{Version: handshake.TLS13, Suite: gcm}},
		{"GCM of TLS 1.3 in TLS 1.2", Params{Version: handshake.TLS12, Suite: tls13}},
		{"compression in TLS 1.3", Params{Version: handshake.TLS13, Suite: tls13, Compression: 1}},
		{"LZS", Params{Version: handshake.TLS12, Suite: cbc, Compression: 64}},
		{"encrypt-then-MAC in SSL 3.0", Params{Version: handshake.SSL30, Suite: cbc, EncryptThenMAC: true}},
		{"SHA-256 in SSL 3.0", Params{Version: handshake.SSL30, Suite: suite(t, 0x003C)}},
		{"no protection", Params{Version: handshake.TLS12, Suite: suite(t, 0x0000)}},
		{"a cipher that is not here", Params{Version: handshake.TLS12, Suite: suite(t, 0xC102)}},
	} {
		if _, err := NewOpener(tt.p, Keys{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := NewSealer(tt.p, Keys{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: sealer: %v", tt.name, err)
		}
	}
	if _, err := NewOpener(Params{Version: handshake.TLS12, Suite: cbc}, Keys{MAC: make([]byte, 20), Key: make([]byte, 15)}); err == nil || errors.Is(err, ErrUnsupported) {
		t.Errorf("a short key: %v", err)
	}
}

func TestKeySizes(t *testing.T) {
	for _, tt := range []struct {
		id      uint16
		version handshake.Version
		want    [3]int
	}{
		{0x0003, handshake.SSL30, [3]int{16, 5, 0}},  // RC4, export
		{0x0005, handshake.TLS12, [3]int{20, 16, 0}}, // RC4
		{0x0006, handshake.TLS10, [3]int{16, 5, 8}},  // RC2, export
		{0x0008, handshake.TLS10, [3]int{20, 5, 8}},  // DES40
		{0x000A, handshake.SSL30, [3]int{20, 24, 8}}, // 3DES
		{0x002F, handshake.TLS10, [3]int{20, 16, 16}},
		{0x002F, handshake.TLS11, [3]int{20, 16, 0}},
		{0x003D, handshake.TLS12, [3]int{32, 32, 0}},
		{0x009D, handshake.TLS12, [3]int{0, 32, 4}},
		{0xC09C, handshake.TLS12, [3]int{0, 16, 4}},   // CCM
		{0xC03D, handshake.TLS12, [3]int{48, 32, 0}},  // ARIA, SHA-384
		{0xCCA8, handshake.TLS12, [3]int{0, 32, 12}},  // ChaCha20
		{0x1302, handshake.TLS13, [3]int{0, 32, 12}},  // AES-256-GCM
		{0x0000, handshake.TLS12, [3]int{0, 0, 0}},    // NULL
		{0x003B, handshake.TLS12, [3]int{32, 0, 0}},   // NULL, SHA-256
		{0x0061, handshake.TLS10, [3]int{16, 7, 8}},   // RC2, 56 bits
		{0x0096, handshake.TLS10, [3]int{20, 16, 16}}, // SEED
	} {
		mac, key, iv := KeySizes(Params{Version: tt.version, Suite: suite(t, tt.id)})
		if got := [3]int{mac, key, iv}; got != tt.want {
			t.Errorf("%s, %v: %v, want %v", handshake.SuiteName(tt.id), tt.version, got, tt.want)
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	k := Keys{MAC: []byte("secret"), Key: []byte("secret"), IV: []byte("secret")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, k); got != "[keys]" {
			t.Errorf("%s: %s", verb, got)
		}
	}
}
