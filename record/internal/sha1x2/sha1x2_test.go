// SPDX-License-Identifier: Apache-2.0

package sha1x2

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The vectors of RFC 2202, Section 3, whose keys are not longer than a block.
var vectors = []struct{ key, message, mac string }{
	{strings.Repeat("\x0b", 20), "Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"},
	{"Jefe", "what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
	{strings.Repeat("\xaa", 20), strings.Repeat("\xdd", 50), "125d7342b9ac11cd91a39af48aa17b4f63f175d3"},
	{
		"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19",
		strings.Repeat("\xcd", 50), "4c9007f4026250c6bc8414f9bf50c86c2d7235da",
	},
	{strings.Repeat("\x0c", 20), "Test With Truncation", "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		want, err := hex.DecodeString(v.mac)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range len(v.message) {
			head, body := []byte(v.message[:cut]), []byte(v.message[cut:])
			macs := NewKey([]byte(v.key)).Sum(Message{head, body}, Message{nil, append(head, body...)})
			for i, mac := range macs {
				if !bytes.Equal(mac[:], want) {
					t.Errorf("%q, cut at %d, %d: got %x", v.message, cut, i, mac)
				}
			}
		}
	}
}

// check compares with crypto/hmac.
func check(t *testing.T, key []byte, m, n Message) {
	t.Helper()
	macs := NewKey(key).Sum(m, n)
	for i, m := range []Message{m, n} {
		h := hmac.New(sha1.New, key)
		h.Write(m.Head)
		h.Write(m.Body)
		if want := h.Sum(nil); !bytes.Equal(macs[i][:], want) {
			t.Fatalf("message %d of %d + %d bytes: got %x, want %x", i, len(m.Head), len(m.Body), macs[i], want)
		}
	}
}

// TestLengths takes messages of every length up to many blocks, and of every remainder up to the longest that records
// have, beside ones that are as long, about as long, and of any other length, at odd addresses.
func TestLengths(t *testing.T) {
	r := rand.New(rand.NewChaCha8([32]byte{3}))
	const most = 1<<14 + 2048
	src := rand.NewChaCha8([32]byte{4})
	var b [2][1 + most]byte
	src.Read(b[0][:])
	src.Read(b[1][:])
	key := make([]byte, Size)
	step := 1
	for n := 0; n <= most; n += step {
		if n == 16*blockSize {
			step = blockSize - 3
		}
		src.Read(key)
		for _, other := range []int{n, max(n-r.IntN(130), 0), r.IntN(most)} {
			check(t, key, Message{b[0][:13], b[0][1 : 1+n]}, Message{b[1][:13], b[1][1 : 1+other]})
			check(t, key, Message{b[0][:13], b[0][1 : 1+other]}, Message{b[1][:13], b[1][1 : 1+n]})
		}
	}
}

// TestGeneric compares what processors without the instructions do.
func TestGeneric(t *testing.T) {
	src := rand.NewChaCha8([32]byte{5})
	var b [2][9 * blockSize]byte
	for n := 1; n <= 9; n++ {
		src.Read(b[0][:])
		src.Read(b[1][:])
		got, want := hashes{initial, {1, 2, 3, 4, 5}}, hashes{initial, {1, 2, 3, 4, 5}}
		blocks(&got, b[0][:n*blockSize], b[1][:n*blockSize])
		blocksGeneric(&want, b[0][:n*blockSize], b[1][:n*blockSize])
		if got != want {
			t.Fatalf("%d blocks: got %x, want %x", n, got, want)
		}
	}
}

func TestSumAllocatesNothing(t *testing.T) {
	k := NewKey(make([]byte, Size))
	m, n := Message{make([]byte, 13), make([]byte, 1000)}, Message{make([]byte, 13), make([]byte, 100)}
	if allocs := testing.AllocsPerRun(10, func() { k.Sum(m, n) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte("key"), []byte("head"), make([]byte, 200), uint16(60), uint16(190))
	f.Fuzz(func(t *testing.T, key, head, b []byte, n, m uint16) {
		key, head = key[:min(len(key), blockSize)], head[:min(len(head), blockSize-1)]
		check(t, key, Message{head, b[:min(int(n), len(b))]}, Message{head, b[min(int(m), len(b)):]})
	})
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{64, 1 << 10, 1 << 14} {
		m := Message{make([]byte, 13), make([]byte, n)}
		b.Run(fmt.Sprintf("%d/two", n), func(b *testing.B) {
			k := NewKey(make([]byte, Size))
			b.SetBytes(2 * int64(n))
			for b.Loop() {
				k.Sum(m, m)
			}
		})
		b.Run(fmt.Sprintf("%d/crypto", n), func(b *testing.B) {
			h, sum := hmac.New(sha1.New, make([]byte, Size)), make([]byte, 0, Size)
			b.SetBytes(int64(n))
			for b.Loop() {
				h.Reset()
				h.Write(m.Head)
				h.Write(m.Body)
				h.Sum(sum)
			}
		})
	}
}
