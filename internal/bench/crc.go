// SPDX-License-Identifier: Apache-2.0

package main

import "hash/crc32"

// combine returns the CRC-32C of two stretches of bytes, from the checksums of both and the length of the
// second: the checksum is linear, so the first is carried over as many zeros.
func combine(first, second uint32, n uint64) uint32 {
	// op[k] multiplies by x^(8·2^k), as a matrix of columns.
	var op, sq [32]uint32
	op[0] = crc32.Castagnoli // one bit
	for i := range 31 {
		op[i+1] = 1 << i
	}
	for range 3 { // to one byte
		square(&sq, &op)
		op, sq = sq, op
	}
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			first = times(&op, first)
		}
		square(&sq, &op)
		op, sq = sq, op
	}
	return first ^ second
}

func times(m *[32]uint32, v uint32) (sum uint32) {
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 != 0 {
			sum ^= m[i]
		}
	}
	return sum
}

func square(to, m *[32]uint32) {
	for i := range m {
		to[i] = times(m, m[i])
	}
}
