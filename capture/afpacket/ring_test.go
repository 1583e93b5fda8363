// SPDX-License-Identifier: Apache-2.0

//go:build linux

package afpacket

import (
	"encoding/binary"
	"testing"
)

// FuzzBlock reads a block of anything: packets lie within it, and there is an end.
func FuzzBlock(f *testing.F) {
	f.Add(make([]byte, 200), uint32(3), uint32(48))
	b := make([]byte, 400)
	binary.NativeEndian.PutUint32(b[48:], 160)    // to the next
	binary.NativeEndian.PutUint32(b[48+12:], 60)  // captured
	binary.NativeEndian.PutUint32(b[48+16:], 60)  // length
	binary.NativeEndian.PutUint16(b[48+24:], 82)  // where it begins
	binary.NativeEndian.PutUint32(b[208+12:], 60) // the second
	binary.NativeEndian.PutUint16(b[208+24:], 82)
	f.Add(b, uint32(2), uint32(48))
	f.Fuzz(func(t *testing.T, mem []byte, n, first uint32) {
		if len(mem) == 0 || n > 1<<16 {
			return
		}
		b := Block{mem: mem, left: n, off: first &^ 15}
		var p Packet
		count := uint32(0)
		for b.Next(&p) {
			if count++; count > n || len(p.Data) > len(mem) || len(p.Data) > p.Length {
				t.Fatalf("%d packets of %d; %d of %d bytes", count, n, len(p.Data), p.Length)
			}
		}
	})
}
