// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package sha1x2

import (
	"golang.org/x/sys/cpu"

	"github.com/sightglass/sightglass/record/internal/cpuid"
)

// Fast reports whether two at once are faster than one after the other.
func Fast() bool { return hasSHA }

var hasSHA = cpu.X86.HasSSSE3 && cpu.X86.HasSSE41 && cpuid.SHA

// blocks goes on with two hashes by whole blocks, at least one, as many of p as of q.
func blocks(h *hashes, p, q []byte) {
	if hasSHA {
		blocksSHA(h, p, q)
		return
	}
	blocksGeneric(h, p, q)
}

//go:noescape
func blocksSHA(h *hashes, p, q []byte)
