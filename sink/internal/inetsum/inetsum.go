// SPDX-License-Identifier: Apache-2.0

// Package inetsum adds up the words of an Internet checksum (RFC 1071).
package inetsum

import (
	"encoding/binary"
	"math/bits"
)

// Add adds b, whose offset in its packet is even, to a checksum in progress: the sum of 16-bit words,
// here kept in 64 bits with the carry brought round. The words are added up in the machine's order, as
// which their sum comes out too (Section 2B).
func Add(sum uint64, b []byte) uint64 {
	sum = bits.ReverseBytes64(sum)
	var carry uint64
	if n := len(b) / blockSize; n > 0 {
		sum, carry = bits.Add64(sum, blocks(b[:n*blockSize]), 0)
		sum += carry
		b = b[n*blockSize:]
	}
	for ; len(b) >= 8; b = b[8:] {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum += carry
	}
	if len(b) > 0 {
		var rest [8]byte
		copy(rest[:], b)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(rest[:]), 0)
		sum += carry
	}
	return bits.ReverseBytes64(sum)
}

// Fold ends a checksum.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum)
}

const blockSize = 64

// blocksGeneric adds up whole blocks.
func blocksGeneric(b []byte) (sum uint64) {
	var carry uint64
	for ; len(b) >= blockSize; b = b[blockSize:] {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), 0)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[24:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[32:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[40:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[48:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[56:]), carry)
		sum += carry
	}
	return sum
}
