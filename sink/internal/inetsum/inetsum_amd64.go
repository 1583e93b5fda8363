// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package inetsum

import "golang.org/x/sys/cpu"

// blocks adds up whole blocks, at least one.
func blocks(b []byte) uint64 {
	if cpu.X86.HasAVX2 {
		return blocksAVX2(&b[0], len(b)/blockSize)
	}
	return blocksGeneric(b)
}

// blocksAVX2 adds up n blocks as 32-bit words.
//
//go:noescape
func blocksAVX2(b *byte, n int) uint64
