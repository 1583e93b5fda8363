// SPDX-License-Identifier: Apache-2.0

package inetsum

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// plain is the checksum as RFC 1071, Section 4.1 has it.
func plain(b []byte) uint16 {
	var sum uint64
	for ; len(b) > 1; b = b[2:] {
		sum += uint64(b[0])<<8 | uint64(b[1])
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func TestAdd(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	random := make([]byte, 70_000)
	r.Read(random)
	for _, b := range [][]byte{random, bytes.Repeat([]byte{0xff}, len(random)), make([]byte, len(random))} {
		for n := range 600 {
			for _, size := range []int{n, len(b) - n} {
				if got, want := Fold(Add(0, b[:size])), plain(b[:size]); got != want {
					t.Fatalf("%d bytes: %04x, want %04x", size, got, want)
				}
				if got, want := Fold(Add(Add(0, b[:n&^1]), b[n&^1:size])), plain(b[:size]); size > n && got != want {
					t.Fatalf("%d bytes in two parts: %04x, want %04x", size, got, want)
				}
			}
		}
	}
	if got, want := Fold(blocksGeneric(random[:640])), Fold(blocks(random[:640])); got != want {
		t.Errorf("%04x, and %04x without vectors", want, got)
	}
}

func BenchmarkAdd(b *testing.B) {
	data := make([]byte, 1460)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		Add(0, data)
	}
}

// FuzzAdd: the sum is RFC 1071's, however the bytes are divided, and whatever was added before.
func FuzzAdd(f *testing.F) {
	f.Add([]byte("some bytes, of which there are an odd number"), uint16(7))
	f.Add(bytes.Repeat([]byte{0xff}, 700), uint16(640))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		want := plain(b)
		if got := Fold(Add(0, b)); got != want {
			t.Errorf("%d bytes: %04x, want %04x", len(b), got, want)
		}
		even := min(int(at), len(b)) &^ 1
		if got := Fold(Add(Add(0, b[:even]), b[even:])); got != want {
			t.Errorf("%d bytes, %d of them first: %04x, want %04x", len(b), even, got, want)
		}
	})
}
