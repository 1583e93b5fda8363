// SPDX-License-Identifier: Apache-2.0

package keylog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

func random(n int) []byte {
	b := make([]byte, randomLen)
	binary.BigEndian.PutUint64(b, uint64(n))
	return b
}

func line(n int) Line { return Line{ClientRandom, random(n), bytes.Repeat([]byte{byte(n)}, masterLen)} }

const sampleLog = `# SSL/TLS secrets log file

CLIENT_RANDOM 0000000000000001000000000000000000000000000000000000000000000000 010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101
hello
RSA 0102030405060708 020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202
CLIENT_RANDOM 00 00
QUIC_SECRET 00 00
RSA Session-ID:0a0b Master-Key:030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303
`

func TestLoad(t *testing.T) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "data with its end": iotest.DataErrReader,
	} {
		s, report, err := Load(wrap(strings.NewReader(sampleLog)))
		if err != nil {
			t.Fatal(err)
		}
		if report.Lines != 8 || report.Secrets != 3 || report.Unknown != 1 || report.Malformed != 2 || s.Len() != 3 {
			t.Errorf("%s: %+v", name, report)
		}
		if len(report.Errors) != 2 || report.Errors[0].Line != 4 || report.Errors[1].Line != 6 || !strings.HasPrefix(report.Errors[1].Error(), "line 6: CLIENT_RANDOM") {
			t.Errorf("%s: %v", name, report.Errors)
		}
		if !errors.Is(report.Errors[0], errForm) {
			t.Errorf("%s: %v", name, report.Errors[0])
		}
		if m, ok := s.Lookup(ClientRandom, random(1)); !ok || m[0] != 1 {
			t.Errorf("%s: CLIENT_RANDOM: %v", name, ok)
		}
		if m, ok := s.ByEncryptedPremaster([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}); !ok || m[0] != 2 {
			t.Errorf("%s: RSA: %v", name, ok)
		}
		if m, ok := s.BySessionID([]byte{10, 11}); !ok || m[0] != 3 {
			t.Errorf("%s: RSA Session-ID: %v", name, ok)
		}
	}
}

func TestLookupMisses(t *testing.T) {
	s := NewSecrets(0)
	s.LoadBytes([]byte(sampleLog))
	for name, found := range map[string]bool{
		"another random":      second(s.Lookup(ClientRandom, random(2))),
		"another label":       second(s.Lookup(ClientTraffic, random(1))),
		"no label":            second(s.Lookup("", random(1))),
		"a longer random":     second(s.Lookup(ClientRandom, append(random(1), 0))),
		"a shorter random":    second(s.Lookup(ClientRandom, random(1)[:31])),
		"nothing":             second(s.Lookup(ClientRandom, nil)),
		"seven bytes":         second(s.ByEncryptedPremaster([]byte{1, 2, 3, 4, 5, 6, 7})),
		"a padded session":    second(s.BySessionID([]byte{10, 11, 0})),
		"an empty session":    second(s.BySessionID(nil)),
		"a very long session": second(s.BySessionID(make([]byte, 1000))),
	} {
		if found {
			t.Errorf("%s is found", name)
		}
	}
}

func second(_ []byte, ok bool) bool { return ok }

func TestLoadError(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader(sampleLog), iotest.ErrReader(broken))
	if _, report, err := Load(r); !errors.Is(err, broken) || report.Secrets != 3 {
		t.Errorf("%+v, error %v", report, err)
	}
}

// A line without end is bounded, counted once, and does not hide the next.
func TestLoadLongLines(t *testing.T) {
	for _, n := range []int{maxLine - 1, maxLine, maxLine + 1, 10 * maxLine} {
		log := strings.Repeat("x", n) + "\n" + sampleLog + strings.Repeat("y", n)
		s := NewSecrets(0)
		report := s.LoadBytes([]byte(log))
		if report.Lines != 10 || report.Malformed != 4 || report.Secrets != 3 {
			t.Errorf("%d bytes: %+v", n, report)
		}
	}
}

func TestManyMalformedLines(t *testing.T) {
	report := NewSecrets(0).LoadBytes(bytes.Repeat([]byte("bad\n"), 1000))
	if report.Malformed != 1000 || len(report.Errors) != maxReported {
		t.Errorf("%d malformed, %d reported", report.Malformed, len(report.Errors))
	}
}

func TestBound(t *testing.T) {
	s := NewSecrets(10)
	for i := range 35 {
		for range 2 { // twice is once
			if !s.Add(line(i)) {
				t.Fatal("not added")
			}
		}
		if s.Len() > 10 {
			t.Fatalf("%d secrets", s.Len())
		}
	}
	for i := range 35 {
		if _, ok := s.Lookup(ClientRandom, random(i)); ok != (i >= 25) {
			t.Errorf("secret %d: %v", i, ok)
		}
	}
	changed := line(30)
	changed.Secret = make([]byte, masterLen)
	s.Add(changed)
	if m, _ := s.Lookup(ClientRandom, random(30)); m[0] != 0 || s.Len() != 10 {
		t.Error("the later line does not count")
	}
	for _, l := range []Line{{}, {ClientRandom, nil, nil}, {ClientRandom, random(1), []byte{1}}, {"X", random(1), make([]byte, 48)}} {
		if s.Add(l) {
			t.Errorf("%v was added", l)
		}
	}
}

func TestConcurrent(t *testing.T) {
	s := NewSecrets(100)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				s.Add(line(i))
				if m, ok := s.Lookup(ClientRandom, random(i)); ok && m[0] != byte(i) {
					t.Error("another's secret")
				}
			}
		})
	}
	wg.Wait()
}

// Any cutting of any log into reads gives the same report, and no more secrets than lines.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(sampleLog), uint8(3))
	f.Add(bytes.Repeat([]byte("x"), 5000), uint8(1))
	f.Fuzz(func(t *testing.T, log []byte, limit uint8) {
		a, b := NewSecrets(int(limit)+1), NewSecrets(int(limit)+1)
		whole := a.LoadBytes(log)
		cut, err := b.Load(iotest.HalfReader(bytes.NewReader(log)))
		if err != nil {
			t.Fatal(err)
		}
		if whole.Lines != cut.Lines || whole.Secrets != cut.Secrets || whole.Malformed != cut.Malformed || whole.Unknown != cut.Unknown || a.Len() != b.Len() {
			t.Fatalf("%+v and %+v", whole, cut)
		}
		if want := bytes.Count(log, []byte("\n")); whole.Lines < want || whole.Lines > want+1 {
			t.Fatalf("%d lines, %d ends", whole.Lines, want)
		}
		if whole.Secrets+whole.Malformed+whole.Unknown > whole.Lines || a.Len() > whole.Secrets || a.Len() > int(limit)+1 {
			t.Fatalf("%+v, %d kept", whole, a.Len())
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	s := NewSecrets(0)
	for i := range 100_000 {
		s.Add(line(i))
	}
	id := random(500)
	b.ReportAllocs()
	for b.Loop() {
		s.Lookup(ClientRandom, id)
	}
}
