// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package avx2

import "golang.org/x/sys/cpu"

var supported = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// mul4 sets out to a·b/2^1040 modulo m in each lane: an almost Montgomery multiplication. The result is less than
// a·b/2^1040 + 2m, which must be less than 2^1040, as a and b. Out may be a or b. What s has is of no use before or after.
//
//go:noescape
func mul4(out, a, b *lanes, m *moduli, s *sums, c *constants)

// sqr4 multiplies x by itself, so many times.
//
//go:noescape
func sqr4(x *lanes, m *moduli, s *sums, c *constants, times int)

// pick4 sets out to a power from the table, in each lane the one that which has there, and reads the whole table.
//
//go:noescape
func pick4(out *lanes, table *powers, which *integers, c *constants)

// wipe clears the vector registers, where numbers of the key and what was opened with it are left: they would be in the
// next signal's frame.
func wipe()
