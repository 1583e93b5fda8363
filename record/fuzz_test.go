// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// FuzzOpen feeds openers with a record that was changed, cut or made up. Nothing but the very
// plaintext that was sealed ever comes out, the record stays as it is, and the opener still opens what
// is genuine.
func FuzzOpen(f *testing.F) {
	all := protections()
	for i := range all {
		f.Add(uint16(i), []byte("plaintext"), []byte{}, uint16(7), uint8(1), false)
		f.Add(uint16(i), bytes.Repeat([]byte("text "), 40), []byte{23, 3, 3, 0, 40}, uint16(0), uint8(0), true)
	}
	f.Fuzz(func(t *testing.T, which uint16, plaintext, made []byte, at uint16, flip uint8, resync bool) {
		p := all[int(which)%len(all)]
		plaintext = plaintext[:min(len(plaintext), handshake.MaxPlaintext)]
		s, o := newPair(t, p.Params, 1)
		genuine := mustSeal(t, s, handshake.ContentApplicationData, plaintext)
		rec := bytes.Clone(genuine)
		if len(made) > 0 {
			rec = made
		} else {
			rec[int(at)%len(rec)] ^= flip
		}
		before := bytes.Clone(rec)
		buf := make([]byte, 0, handshake.MaxCiphertext)
		try := o.Clone()
		var got []byte
		var err error
		if resync {
			try.LoseRecords(int(at))
			_, got, _, err = try.Resync(buf, rec, 5)
		} else {
			_, got, err = try.Open(buf, rec)
		}
		if !bytes.Equal(rec, before) {
			t.Fatal("the record was modified")
		}
		if err == nil && !bytes.Equal(got, plaintext) {
			t.Fatalf("plaintext %q that was never sealed", got)
		}
		if err != nil && got != nil {
			t.Fatalf("plaintext beside %v", err)
		}
		if err != nil && !resync {
			mustOpen(t, try, genuine, handshake.ContentApplicationData, plaintext)
		}
		mustOpen(t, o, genuine, handshake.ContentApplicationData, plaintext)
	})
}

// FuzzInflate decompresses anything: no more than a record's plaintext comes out, and a clone sees
// the same.
func FuzzInflate(f *testing.F) {
	f.Add([]byte{0x78, 0x01, 0, 0, 0, 0xFF, 0xFF}, []byte{0, 0, 0, 0xFF, 0xFF})
	f.Add(unhex(f, "789c126160e06160646266616563e7e0e4e206000000ffff"), unhex(f, "02ebcbcc4b49add00309916102000000ffff"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var a inflater
		_, _ = a.inflate(nil, first)
		b := a.clone()
		got, err := a.inflate(nil, second)
		again, errAgain := b.inflate(make([]byte, 0, handshake.MaxCiphertext), second)
		if err != errAgain || !bytes.Equal(got, again) {
			t.Fatalf("%q, %v; a clone: %q, %v", got, err, again, errAgain)
		}
		if len(got) > handshake.MaxPlaintext || len(a.window) > windowLen {
			t.Fatalf("%d bytes, a window of %d", len(got), len(a.window))
		}
	})
}
