// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/record/internal/sha1x2"
)

// lookaheads are the protections that look ahead, and some that do not.
func lookaheads() (all []protection) {
	for _, p := range protections() {
		if p.Suite.MAC == handshake.MACSHA1 || p.Suite.Cipher == handshake.CipherAES128CBC || p.Suite.Cipher == handshake.CipherAES128GCM {
			all = append(all, p)
		}
	}
	return all
}

// TestFollow opens records that are all at hand, and sees that it does look ahead where it can.
func TestFollow(t *testing.T) {
	for _, p := range lookaheads() {
		t.Run(p.name, func(t *testing.T) {
			s, o := newPair(t, p.Params, 1)
			r := newRand(2)
			var stream []byte
			var want [][]byte
			for _, n := range []int{1000, 1000, 300, 1000, 200, 1000, 1000, 0, 1, 0, 20, handshake.MaxPlaintext, handshake.MaxPlaintext, 5000} {
				want = append(want, randomBytes(r, n))
				stream = append(stream, mustSeal(t, s, handshake.ContentApplicationData, want[len(want)-1])...)
			}
			kept := 0
			for _, want := range want {
				rec := firstRecord(stream)
				stream = stream[len(rec):]
				o.Follow(stream)
				mustOpen(t, o, rec, handshake.ContentApplicationData, want)
				if c, ok := o.opening.(*cbcOpening); ok && c.kept != nil && c.kept.rec != nil {
					kept++
				}
			}
			c, ok := o.opening.(*cbcOpening)
			switch able := ok && c.two != nil; {
			case able != (ok && sha1x2.Fast() && p.Suite.MAC == handshake.MACSHA1 && p.Version != handshake.SSL30):
				t.Errorf("able to look ahead: %v", able)
			case able && kept < 5, !able && kept != 0:
				t.Errorf("looked ahead %d times", kept)
			}
			o.Follow(nil)
			if ok && (c.kept != nil || c.rest != nil) {
				t.Error("it keeps what it must let go of")
			}
		})
	}
}

// followed opens records with two openers, of which one is told what follows.
type followed struct {
	t              testing.TB
	plain, told    *Opener
	plainBuf, buf  []byte
	opened, failed int
}

// open opens rec with both and compares all that there is to see.
func (f *followed) open(rec []byte, window int) bool {
	f.t.Helper()
	var typ [2]handshake.ContentType
	var plaintext [2][]byte
	var skipped [2]uint64
	var err [2]error
	if window == 0 {
		typ[0], plaintext[0], err[0] = f.plain.Open(f.plainBuf, rec)
		typ[1], plaintext[1], err[1] = f.told.Open(f.buf, rec)
	} else {
		typ[0], plaintext[0], skipped[0], err[0] = f.plain.Resync(f.plainBuf, rec, window)
		typ[1], plaintext[1], skipped[1], err[1] = f.told.Resync(f.buf, rec, window)
	}
	if typ[0] != typ[1] || !bytes.Equal(plaintext[0], plaintext[1]) || skipped[0] != skipped[1] || err[0] != err[1] {
		f.t.Fatalf("after %d records opened and %d failed: %v, skipped %v, errors %v, plaintexts of %d and %d bytes",
			f.opened, f.failed, typ, skipped, err, len(plaintext[0]), len(plaintext[1]))
	}
	if f.plain.Sequence() != f.told.Sequence() {
		f.t.Fatalf("sequence numbers %d and %d", f.plain.Sequence(), f.told.Sequence())
	}
	if err[0] == nil {
		f.opened++
	} else {
		f.failed++
	}
	return err[0] == nil
}

func (f *followed) both(do func(o *Opener)) {
	do(f.plain)
	do(f.told)
}

// follow is a script: for each byte there is a record, and a step.
func follow(t testing.TB, p Params, script []byte) *followed {
	s, o := newPair(t, p, 3)
	f := &followed{t: t, plain: o, told: o.Clone(), plainBuf: make([]byte, handshake.MaxCiphertext), buf: make([]byte, handshake.MaxCiphertext)}
	r := newRand(4)
	var stream []byte
	var numbers []uint64
	for _, x := range script {
		// Most are about as long as the others.
		n := 40 + int(x>>3)
		if x>>3 == 31 {
			n = int(x&7) * 700
		}
		if x>>3 == 29 {
			mustSeal(t, s, handshake.ContentApplicationData, nil) // lost before this one
		}
		start := len(stream)
		numbers = append(numbers, s.seq)
		stream = append(stream, mustSeal(t, s, handshake.ContentApplicationData, randomBytes(r, n))...)
		if x>>3 == 30 {
			// Anywhere behind the length: padding, tag, IV.
			body := stream[start+handshake.RecordHeaderLen:]
			body[int(x&7)*1237%len(body)] ^= 1
		}
	}
	var before []byte
	for i, x := range script {
		rec := firstRecord(stream)
		stream = stream[len(rec):]
		f.told.Follow(stream)
		switch x & 7 {
		case 0: // not opened at all
		case 1:
			f.both(func(o *Opener) { o.SetSequence(o.Sequence() + 1) })
		case 2:
			f.both(func(o *Opener) { o.Lose(len(rec) - handshake.RecordHeaderLen); o.Preceded(rec) })
			if x>>3&1 == 0 {
				f.open(rec, 0) // chained to its own end
			}
		case 3:
			f.told.Follow(stream[min(int(x>>3), len(stream)):]) // a lie
			f.open(rec, 0)
			f.open(bytes.Clone(rec), 0)
		case 4:
			f.open(rec, 2+int(x>>3)%4)
		case 5:
			f.told.Follow(nil)
			f.told = f.told.Clone()
			f.open(rec, 0)
			f.open(rec, 0)
		default:
			if !f.open(rec, 0) {
				// As it would be had all before been opened.
				f.both(func(o *Opener) { o.SetSequence(numbers[i]); o.Preceded(before) })
				f.open(rec, 0)
			}
		}
		before = rec
	}
	f.told.Follow(nil)
	return f
}

// TestFollowIsOpen runs scripts at random.
func TestFollowIsOpen(t *testing.T) {
	r := newRand(5)
	for _, p := range lookaheads() {
		t.Run(p.name, func(t *testing.T) {
			opened, failed := 0, 0
			for range 8 {
				script := randomBytes(r, 30)
				for i := range script {
					if i%3 != 0 {
						script[i] |= 7 // more that are just opened
					}
				}
				f := follow(t, p.Params, script)
				opened, failed = opened+f.opened, failed+f.failed
			}
			if block := p.Suite.Cipher.Params().Kind == handshake.KindBlock; failed < 10 || opened < 10 && block && p.Compression == 0 {
				t.Errorf("%d records were opened and %d failed", opened, failed)
			}
		})
	}
}

func FuzzFollow(f *testing.F) {
	all := lookaheads()
	f.Add(byte(0), []byte("\x07\x0f\x17\x1f"))
	f.Add(byte(1), []byte("\xff\xff\xfe\xf7\x07\x03\x07\x04\x07\x05\x07\x02\x07\x01\x07"))
	f.Fuzz(func(t *testing.T, which byte, script []byte) {
		follow(t, all[int(which)%len(all)].Params, script[:min(len(script), 64)])
	})
}

func TestFollowAllocatesNothing(t *testing.T) {
	for _, etm := range []bool{false, true} {
		p := Params{Version: handshake.TLS12, Suite: suite(t, 0x0035), EncryptThenMAC: etm}
		o, stream := burst(t, p, 20, 5000)
		buf := make([]byte, handshake.MaxCiphertext)
		all := func() {
			o.SetSequence(0)
			openBurst(t, o, buf, stream)
		}
		if n := testing.AllocsPerRun(20, all); n > 1 { // the collector may empty the pool
			t.Errorf("EtM %v: %v allocations of 20 records", etm, n)
		}
	}
}

// burst returns records that came all at once.
func burst(t testing.TB, p Params, records, size int) (*Opener, []byte) {
	s, o := newPair(t, p, 1)
	var stream []byte
	for range records {
		stream = append(stream, mustSeal(t, s, handshake.ContentApplicationData, make([]byte, size))...)
	}
	return o, stream
}

func openBurst(t testing.TB, o *Opener, buf, stream []byte) {
	for len(stream) > 0 {
		rec := firstRecord(stream)
		stream = stream[len(rec):]
		o.Follow(stream)
		if _, _, err := o.Open(buf, rec); err != nil {
			t.Fatal(err)
		}
	}
	o.Follow(nil)
}

// BenchmarkOpenBurst is what one read of a busy flow brings.
func BenchmarkOpenBurst(b *testing.B) {
	for _, id := range []uint16{0x002F, 0x0035} {
		for _, n := range []int{100, 1400, handshake.MaxPlaintext} {
			for _, etm := range []bool{false, true} {
				p := Params{Version: handshake.TLS12, Suite: suite(b, id), EncryptThenMAC: etm}
				b.Run(fmt.Sprintf("%s/EtM=%v/%d", p.Suite.Name, etm, n), func(b *testing.B) {
					o, stream := burst(b, p, 16, n)
					buf := make([]byte, handshake.MaxCiphertext)
					b.SetBytes(16 * int64(n))
					b.ReportAllocs()
					for b.Loop() {
						o.SetSequence(0)
						openBurst(b, o, buf, stream)
					}
				})
			}
		}
	}
}
