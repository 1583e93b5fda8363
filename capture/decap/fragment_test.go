// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// big is a datagram whose TCP payload needs fragments.
func big(t testing.TB, v6 bool) (datagram []byte, content []byte) {
	content = make([]byte, 9000)
	for i := range content {
		content[i] = byte(i * 7)
	}
	if v6 {
		b := inner6(t)
		b = append(b[:len(b)-len(payload)], content...)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return b, content
	}
	b := inner4(t)
	b = append(b[:len(b)-len(payload)], content...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b, content
}

// cut makes fragments of a datagram, each with n bytes of it.
func cut(datagram []byte, id uint32, n int) (frags [][]byte) {
	v6 := datagram[0]>>4 == 6
	head := datagram[:20]
	if v6 {
		head = datagram[:40]
	}
	body := datagram[len(head):]
	for at := 0; at < len(body); at += n {
		part := body[at:min(len(body), at+n)]
		frags = append(frags, fragment(head, id, at, at+n < len(body), part))
	}
	return frags
}

func fragment(head []byte, id uint32, at int, more bool, part []byte) []byte {
	f := slices.Clone(head)
	if len(head) == 20 {
		field := uint16(at / 8)
		if more {
			field |= flagMore
		}
		binary.BigEndian.PutUint16(f[2:], uint16(20+len(part)))
		binary.BigEndian.PutUint16(f[4:], uint16(id))
		binary.BigEndian.PutUint16(f[6:], field)
		return append(f, part...)
	}
	field := uint16(at)
	if more {
		field |= 1
	}
	ext := []byte{f[6], 0, byte(field >> 8), byte(field), 0, 0, 0, byte(id)}
	f[6] = protoFragment
	binary.BigEndian.PutUint16(f[4:], uint16(8+len(part)))
	return append(append(f, ext...), part...)
}

// decodeAll decodes packets and returns the segments that came out.
func decodeAll(d *Decoder, packets [][]byte, now int64) (segs []Segment, results []Result) {
	for _, p := range packets {
		var s Segment
		res := d.Decode(LinkRaw, p, len(p), now, &s)
		results = append(results, res)
		if res == TCP {
			segs = append(segs, s)
		}
	}
	return segs, results
}

func TestFragmentsInAnyOrder(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		whole, content := big(t, seed%2 == 1)
		frags := cut(whole, 7, 8*(1+rng.IntN(200)))
		frags = append(frags, frags[rng.IntN(len(frags))]) // one comes twice
		rng.Shuffle(len(frags), func(i, j int) { frags[i], frags[j] = frags[j], frags[i] })
		var d Decoder
		segs, _ := decodeAll(&d, frags, 0)
		if len(segs) != 1 || !bytes.Equal(segs[0].Payload, content) || !segs[0].Copied {
			t.Fatalf("seed %d: %d segments", seed, len(segs))
		}
		// The one that came twice may have begun another datagram; nothing else is kept.
		if len(d.frags.index) > 1 || d.frags.bytes > maxIPLen {
			t.Errorf("seed %d: %d datagrams, %d bytes are kept", seed, len(d.frags.index), d.frags.bytes)
		}
	}
}

func TestFragmentsOfATunnel(t *testing.T) {
	inside, content := big(t, true)
	outer := join(inner4(t)[:20], inside)
	outer[9] = protoIPv6
	binary.BigEndian.PutUint16(outer[2:], uint16(len(outer)))
	var d Decoder
	segs, _ := decodeAll(&d, cut(outer, 7, 1400), 0)
	if len(segs) != 1 || !bytes.Equal(segs[0].Payload, content) {
		t.Fatalf("%d segments", len(segs))
	}
}

// Fragments that overlap with other content are never put together.
func TestOverlappingFragments(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		whole, _ := big(t, v6)
		head := 20
		if v6 {
			head = 40
		}
		frags := cut(whole, 7, 1400)
		evil := fragment(whole[:head], 7, 800, true, bytes.Repeat([]byte{0xee}, 1400))
		var d Decoder
		segs, results := decodeAll(&d, append([][]byte{frags[0], evil}, frags[1:]...), 0)
		if len(segs) > 0 {
			t.Errorf("IPv6 %v: a datagram was put together: %v", v6, results)
		}
		if d.frags.bytes != 0 {
			t.Errorf("IPv6 %v: %d bytes are kept", v6, d.frags.bytes)
		}
	}
}

func TestFragmentsOfDifferentDatagrams(t *testing.T) {
	whole, content := big(t, false)
	a, b := cut(whole, 1, 1400), cut(whole, 2, 1400)
	var mixed [][]byte
	for i := range a {
		mixed = append(mixed, a[i], b[i])
	}
	var d Decoder
	segs, _ := decodeAll(&d, mixed, 0)
	if len(segs) != 2 || !bytes.Equal(segs[1].Payload, content) {
		t.Errorf("%d segments", len(segs))
	}
}

func TestFragmentTimeout(t *testing.T) {
	whole, _ := big(t, false)
	frags := cut(whole, 1, 1400)
	var d Decoder
	decodeAll(&d, frags[:3], 0)
	segs, _ := decodeAll(&d, frags[3:], fragmentTimeout+1)
	if len(segs) != 0 {
		t.Error("a datagram was put together after its time")
	}
	decodeAll(&d, frags[:1], 3*fragmentTimeout)
	if len(d.frags.index) != 1 {
		t.Errorf("%d datagrams are kept", len(d.frags.index))
	}
}

// Fragments that never become whole hold no more than their share.
func TestFragmentMemory(t *testing.T) {
	whole, _ := big(t, false)
	var d Decoder
	for id := range uint32(20_000) {
		// The last fragment of a datagram of 64 KiB, so that all of it is made room for.
		f := fragment(whole[:20], id, 65_000, true, whole[20:420])
		d.Decode(LinkRaw, f, len(f), int64(id), new(Segment))
		if d.frags.bytes > maxFragmentBytes || len(d.frags.index) > maxDatagrams {
			t.Fatalf("%d bytes, %d datagrams", d.frags.bytes, len(d.frags.index))
		}
	}
	sum := 0
	for _, g := range d.frags.index {
		sum += cap(g.data)
	}
	if sum != d.frags.bytes {
		t.Errorf("%d bytes are kept, counted %d", sum, d.frags.bytes)
	}
}

// FuzzFragments makes fragments of any place and size out of one datagram. What is put together is
// that datagram, or nothing.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0, 100, 100, 100, 200, 100}, false)
	f.Add([]byte{200, 255, 0, 200, 100, 100}, true)
	f.Fuzz(func(t *testing.T, in []byte, v6 bool) {
		whole, content := big(t, v6)
		head := 20
		if v6 {
			head = 40
		}
		body := whole[head:]
		var d Decoder
		for ; len(in) >= 2; in = in[2:] {
			at := min(int(in[0])*8*8, len(body)-len(body)%8)
			end := min(at+int(in[1])*8*8, len(body))
			p := fragment(whole[:head], 7, at, end < len(body), body[at:end])
			var s Segment
			if d.Decode(LinkRaw, p, len(p), 0, &s) == TCP && s.Copied && !bytes.Equal(s.Payload, content) {
				t.Fatalf("%d bytes were put together, not %d", len(s.Payload), len(content))
			}
			if d.frags.bytes > maxFragmentBytes || d.frags.bytes < 0 {
				t.Fatalf("%d bytes are kept", d.frags.bytes)
			}
		}
	})
}
