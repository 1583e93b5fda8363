// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package avx2

import "golang.org/x/sys/cpu"

var supported = cpu.X86.HasAVX2

// mul4 sets out to a·b/2^1044 modulo m in each lane: an almost Montgomery multiplication. The result is less than
// a·b/2^1044 + 2m and even, as a and b must be, and out may be a or b. What q has is of no use before or after, but that the first
// is 0.
//
//go:noescape
func mul4(out, a, b *lanes, m *moduli, q *quotients)

// sqr4 multiplies x by itself, so many times.
//
//go:noescape
func sqr4(x *lanes, m *moduli, q *quotients, times int)

// pick4 sets out to a power from the table, another in each lane, and reads the whole table. Vector i of which has
// all ones in the lanes where bit i of the power's exponent is set.
//
//go:noescape
func pick4(out *lanes, table *powers, which *[window]vector)

// wipe clears the vector registers, where numbers of the key and what was opened with it are left: they would be in the
// next signal's frame.
func wipe()
