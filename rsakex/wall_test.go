// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/race"
)

func TestLocal(t *testing.T) {
	for _, bits := range []int{512, 1024, 2048} {
		key := map[int]func(testing.TB) *rsa.PrivateKey{512: key512, 1024: key1024, 2048: key2048}[bits](t)
		ring := ringOf(t, key)
		q := testRequest(ring.Keys()[0], seal(t, key, testPremaster()))
		s := NewLocal(ring).MasterSecret(q)
		if !s.Ready() {
			t.Fatal("not ready")
		}
		want := MasterSecret(handshake.TLS12, handshake.SHA256, testPremaster(), q.Client, q.Server)
		if got := mustMaster(t, s); !bytes.Equal(got, want) {
			t.Errorf("%d bits: another master secret", bits)
		}
		q.SessionHash = []byte("hash")
		want = ExtendedMasterSecret(handshake.TLS12, handshake.SHA256, testPremaster(), q.SessionHash)
		if got := mustMaster(t, NewLocal(ring).MasterSecret(q)); !bytes.Equal(got, want) {
			t.Errorf("%d bits: another extended master secret", bits)
		}
	}
}

func TestNoKey(t *testing.T) {
	for _, ring := range []*Ring{nil, new(Ring), ringOf(t, key512(t))} {
		if _, err := NewLocal(ring).MasterSecret(testRequest(KeyID{1}, nil)).Master(); !errors.Is(err, ErrNoKey) {
			t.Errorf("error %v", err)
		}
	}
}

// A leading zero of the ciphertext that its sender cut off is put back.
func TestShortCiphertext(t *testing.T) {
	key := key512(t)
	ring := ringOf(t, key)
	var sealed []byte
	for sealed = seal(t, key, testPremaster()); sealed[0] != 0; {
		sealed = seal(t, key, testPremaster())
	}
	q := testRequest(ring.Keys()[0], sealed[1:])
	want := MasterSecret(handshake.TLS12, handshake.SHA256, testPremaster(), q.Client, q.Server)
	if !bytes.Equal(mustMaster(t, NewLocal(ring).MasterSecret(q)), want) {
		t.Error("not opened")
	}
}

// badCiphertexts returns, for a key, what a server must not be seen to treat otherwise than a
// well-formed premaster secret: the classes of RFC 5246, Section 7.4.7.1, and of ROBOT.
func badCiphertexts(t testing.TB, key *rsa.PrivateKey) map[string][]byte {
	size := key.Size()
	em := func(change func(em []byte)) []byte {
		b := bytes.Repeat([]byte{0x5a}, size)
		b[0], b[1], b[size-premasterLen-1] = 0, 2, 0
		copy(b[size-premasterLen:], testPremaster())
		change(b)
		return sealRaw(key, b)
	}
	good := seal(t, key, testPremaster())
	above := new(big.Int).Sub(key.N, big.NewInt(1)).Bytes()
	above[len(above)-1] |= 1
	return map[string][]byte{
		"type 1":            em(func(b []byte) { b[1] = 1 }),
		"type 17":           em(func(b []byte) { b[1] = 0x17 }),
		"first byte 1":      em(func(b []byte) { b[0] = 1 }),
		"no separator":      em(func(b []byte) { copy(b[2:], bytes.Repeat([]byte{1}, size-2)) }),
		"early separator":   em(func(b []byte) { b[3] = 0 }),
		"short padding":     em(func(b []byte) { b[9] = 0 }),
		"premaster of 47":   em(func(b []byte) { b[size-premasterLen-1], b[size-premasterLen] = 1, 0 }),
		"premaster of 49":   em(func(b []byte) { b[size-premasterLen-1], b[size-premasterLen-2] = 3, 0 }),
		"premaster of 0":    em(func(b []byte) { copy(b[2:], bytes.Repeat([]byte{1}, size-3)); b[size-1] = 0 }),
		"nothing":           {},
		"one byte":          {1},
		"zero":              make([]byte, size),
		"too short":         good[:size-1],
		"too long":          append(bytes.Clone(good), 0),
		"zero before it":    append([]byte{0}, good...),
		"very long":         bytes.Repeat([]byte{7}, 10*size),
		"the modulus":       key.N.FillBytes(make([]byte, size)),
		"above the modulus": bytes.Repeat([]byte{0xff}, size),
	}
}

// Each bad ciphertext gives a master secret, another one every time.
func TestBadPaddingIsSilent(t *testing.T) {
	key := key512(t)
	ring := ringOf(t, key)
	local := NewLocal(ring)
	for name, bad := range badCiphertexts(t, key) {
		q := testRequest(ring.Keys()[0], bad)
		a, b := mustMaster(t, local.MasterSecret(q)), mustMaster(t, local.MasterSecret(q))
		if bytes.Equal(a, b) {
			t.Errorf("%s: the same master secret twice: it is not random", name)
		}
		right := MasterSecret(q.Version, q.PRF, testPremaster(), q.Client, q.Server)
		if bytes.Equal(a, right) {
			t.Errorf("%s: opened", name)
		}
	}
}

// The version in the premaster secret makes no difference (see Decrypter).
func TestPremasterVersionIsNotChecked(t *testing.T) {
	key := key512(t)
	ring := ringOf(t, key)
	for _, version := range []uint16{0x0000, 0x0300, 0x0303, 0xffff} {
		premaster := testPremaster()
		premaster[0], premaster[1] = byte(version>>8), byte(version)
		q := testRequest(ring.Keys()[0], seal(t, key, premaster))
		want := MasterSecret(q.Version, q.PRF, premaster, q.Client, q.Server)
		if !bytes.Equal(mustMaster(t, NewLocal(ring).MasterSecret(q)), want) {
			t.Errorf("version %#04x: replaced", version)
		}
	}
}

// Good and bad ciphertexts take the same path: each leads to one private operation on a ciphertext
// that crypto/rsa does not turn away (FuzzFit), with the same allocations.
func TestSamePath(t *testing.T) {
	for _, key := range []*rsa.PrivateKey{key1024(t), key2048(t)} {
		ring := ringOf(t, key)
		local := NewLocal(ring)
		allocs := func(ciphertext []byte) float64 {
			q := testRequest(ring.Keys()[0], ciphertext)
			return testing.AllocsPerRun(20, func() { local.MasterSecret(q) })
		}
		want := allocs(seal(t, key, testPremaster()))
		for name, bad := range badCiphertexts(t, key) {
			if got := allocs(bad); got != want && !race.Enabled {
				t.Errorf("%d bits, %s: %v allocations, and %v for a good one", key.N.BitLen(), name, got, want)
			}
		}
	}
}

// The medians of many interleaved operations are of one class. The bound is wide, so that a busy
// machine does not matter; the shortcut it is there to find would be a hundred times faster.
func TestSameTime(t *testing.T) {
	for _, key := range []*rsa.PrivateKey{key1024(t), key2048(t)} {
		sameTime(t, key)
	}
}

func sameTime(t *testing.T, key *rsa.PrivateKey) {
	ring := ringOf(t, key)
	local := NewLocal(ring)
	inputs := badCiphertexts(t, key)
	inputs["good"] = seal(t, key, testPremaster())
	times := make(map[string][]time.Duration)
	for range 21 {
		for name, ciphertext := range inputs {
			q := testRequest(ring.Keys()[0], ciphertext)
			start := time.Now()
			local.MasterSecret(q)
			times[name] = append(times[name], time.Since(start))
		}
	}
	median := func(name string) time.Duration {
		slices.Sort(times[name])
		return times[name][len(times[name])/2]
	}
	good := median("good")
	for name := range inputs {
		if m := median(name); m > 3*good || m < good/3 {
			t.Errorf("%d bits, %s: %v, and %v for a good one", key.N.BitLen(), name, m, good)
		}
	}
}

// fit gives crypto/rsa what it takes, whatever came, and says whether that is what came.
func FuzzFit(f *testing.F) {
	key := key512(f)
	private, err := newPrivateKey(numbersOf(key))
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range badCiphertexts(f, key) {
		f.Add(b)
	}
	f.Add(seal(f, key, testPremaster()))
	f.Fuzz(func(t *testing.T, encrypted []byte) {
		ciphertext := make([]byte, key.Size())
		ok := private.fit(ciphertext, encrypted)
		value := new(big.Int).SetBytes(ciphertext)
		if value.Cmp(key.N) >= 0 {
			t.Fatal("a ciphertext that crypto/rsa turns away")
		}
		fits := len(encrypted) <= key.Size() && new(big.Int).SetBytes(encrypted).Cmp(key.N) < 0
		if (ok == 1) != fits {
			t.Fatalf("ok is %d", ok)
		}
		if fits && value.Cmp(new(big.Int).SetBytes(encrypted)) != 0 {
			t.Fatal("another number")
		}
		if err := decryptSessionKey(private.rsa, ciphertext, make([]byte, premasterLen)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzRequest(f *testing.F) {
	key := key512(f)
	ring := ringOf(f, key)
	f.Add(uint16(0x0303), uint8(0), seal(f, key, testPremaster()), []byte(nil))
	f.Add(uint16(0x0300), uint8(1), []byte{1}, []byte("hash"))
	f.Fuzz(func(t *testing.T, version uint16, hash uint8, encrypted, sessionHash []byte) {
		q := testRequest(ring.Keys()[0], encrypted)
		q.Version, q.PRF, q.SessionHash = handshake.Version(version), handshake.Hash(hash), sessionHash
		mustMaster(t, NewLocal(ring).MasterSecret(q))
	})
}

// One request should cost what its private operation costs.
func BenchmarkMasterSecret2048(b *testing.B) {
	key := key2048(b)
	ring := ringOf(b, key)
	local := NewLocal(ring)
	q := testRequest(ring.Keys()[0], seal(b, key, testPremaster()))
	b.ReportAllocs()
	for b.Loop() {
		local.MasterSecret(q)
	}
}

// BenchmarkRSA2048 is what BenchmarkMasterSecret2048 is measured against.
func BenchmarkRSA2048(b *testing.B) {
	key := key2048(b)
	sealed := seal(b, key, testPremaster())
	b.ReportAllocs()
	for b.Loop() {
		if err := decryptSessionKey(key, sealed, make([]byte, premasterLen)); err != nil {
			b.Fatal(err)
		}
	}
}
