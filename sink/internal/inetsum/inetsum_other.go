// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || purego

package inetsum

// blocks adds up whole blocks.
func blocks(b []byte) uint64 { return blocksGeneric(b) }
