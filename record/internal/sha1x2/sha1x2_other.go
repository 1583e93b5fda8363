// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || purego

package sha1x2

// Fast reports whether two at once are faster than one after the other.
func Fast() bool { return false }

func blocks(h *hashes, p, q []byte) { blocksGeneric(h, p, q) }
