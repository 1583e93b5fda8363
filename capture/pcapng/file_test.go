// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstandard(t testing.TB, b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// someCapture has a million bytes of packets.
func someCapture() []byte {
	b := little().section().iface(1, 0)
	for i := range 5000 {
		b.enhanced(0, uint64(i), fmt.Sprintf("%0200d", i*i), 200)
	}
	return b.Bytes()
}

func openFile(t testing.TB, path string) (*Input, error) {
	t.Helper()
	f, err := Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	in, err := f.Open(t.Context())
	if err == nil {
		t.Cleanup(func() { in.Close() })
	}
	return in, err
}

func TestCompressed(t *testing.T) {
	plain := someCapture()
	want, _, err := read(t, bytes.NewReader(plain), true)
	if err != nil {
		t.Fatal(err)
	}
	half := len(plain) / 2
	for name, b := range map[string][]byte{
		"plain": plain, "gzip": gzipped(plain), "zstd": zstandard(t, plain),
		"gzip members": slices.Concat(gzipped(plain[:half]), gzipped(plain[half:])),
		"zstd frames":  slices.Concat(zstandard(t, plain[:half]), zstandard(t, plain[half:])),
	} {
		t.Run(name, func(t *testing.T) {
			in, err := openFile(t, file(t, "x", b))
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(in.Reader, true)
			if err != nil {
				t.Error(err)
			}
			samePackets(t, got, want)
			if in.Used() != int64(len(b)) {
				t.Errorf("used %d of %d bytes", in.Used(), len(b))
			}
		})
	}
}

func TestCompressedAndDamaged(t *testing.T) {
	plain := someCapture()
	for name, b := range map[string][]byte{"gzip": gzipped(plain), "zstd": zstandard(t, plain)} {
		t.Run(name+", cut", func(t *testing.T) {
			in, err := openFile(t, file(t, "x", b[:len(b)*2/3]))
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(in.Reader, true)
			wantKind(t, err, ErrCut, -1)
			if name == "gzip" && len(got) < 1000 {
				t.Errorf("%d packets", len(got))
			}
		})
		t.Run(name+", corrupt", func(t *testing.T) {
			b := slices.Clone(b)
			for i := len(b) / 2; i < len(b)/2+100; i++ {
				b[i] ^= 0x55
			}
			in, err := openFile(t, file(t, "x", b))
			if err == nil {
				_, err = readAll(in.Reader, true)
			}
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrCut) {
				t.Errorf("error %v", err)
			}
		})
	}
	for name, b := range map[string][]byte{
		"no gzip": {0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}, "gzip of nothing": gzipped(nil),
		"gzip of text": gzipped([]byte("this is a text")), "nothing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openFile(t, file(t, "x", b))
			wantKind(t, err, ErrNotCapture, 0)
		})
	}
}

func TestStat(t *testing.T) {
	if _, err := Stat(t.TempDir()); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Stat(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if f, err := Stat(Stdin); err != nil || f.Again || f.Name() != "standard input" {
		t.Errorf("standard input: %+v, %v", f, err)
	}
}

// A rotated set is read in the order of time, whatever the names.
func TestSet(t *testing.T) {
	var paths []string
	for _, sec := range []uint32{30, 10, 20} {
		paths = append(paths, file(t, fmt.Sprint(sec), little().pcap(magicMicro, 4, 1).record(sec, 0, "x", 1).Bytes()))
	}
	empty := file(t, "empty", little().pcap(magicMicro, 4, 1).Bytes())
	names := func(in ...string) string {
		files, err := Set(in)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range files {
			out = append(out, filepath.Base(f.Path))
		}
		return strings.Join(out, " ")
	}
	if got := names(paths...); got != "10 20 30" {
		t.Errorf("order %q", got)
	}
	if got := names(paths[0], paths[1], empty, paths[2]); got != "10 empty 20 30" {
		t.Errorf("with one that is empty: %q", got)
	}
	if got := names(paths[0], Stdin, paths[1]); got != "30 - 10" {
		t.Errorf("with standard input: %q", got)
	}
	if got := names(paths[0]); got != "30" {
		t.Errorf("one: %q", got)
	}
	if _, err := Set([]string{"missing"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestFindSecrets(t *testing.T) {
	large := strings.Repeat("CLIENT_RANDOM 00 11\n", 100_000)
	for _, b := range []*builder{little(), big()} {
		b.section().iface(1, 0).secrets(SecretsTLS, "first\n").enhanced(0, 1, "a", 1)
		b.secrets(0x57474b4c, "wireguard\n").secrets(SecretsTLS, large)
		b.secrets(SecretsTLS, strings.Repeat("x", MaxSecrets+1))
		b.section().secrets(SecretsTLS, "last\n")
		for _, content := range [][]byte{b.Bytes(), gzipped(b.Bytes())} {
			f, err := Stat(file(t, "x", content))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			FindSecrets(t.Context(), f, SecretsTLS, func(b []byte) { got = append(got, string(b)) })
			if !slices.Equal(got, []string{"first\n", large, "last\n"}) {
				t.Errorf("%d blocks", len(got))
			}
		}
	}
	f, _ := Stat(file(t, "x", little().pcap(magicMicro, 4, 1).Bytes()))
	FindSecrets(t.Context(), f, SecretsTLS, func([]byte) { t.Error("secrets in a pcap file") })
}

func TestSpool(t *testing.T) {
	plain := someCapture()
	f, err := Stat(file(t, "x", gzipped(plain)))
	if err != nil {
		t.Fatal(err)
	}
	path, err := f.Spool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
