// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package ifma

import "golang.org/x/sys/cpu"

// supported says that the processor, and the system under it, can do what the functions here do.
var supported = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512IFMA && cpu.X86.HasBMI2

// amm2 sets out to a·b/2^1040, or that and the modulus, modulo m, for each of a pair: an almost Montgomery
// multiplication. The result is less than a·b/2^1040 + m, and out may be a or b. k0 is -1/m modulo 2^52.
//
//go:noescape
func amm2(out, a, b, m *pair, k0 *[2]uint64)

// gather sets out to the first number of the table's entry first and the second of entry second, and reads
// the whole table, so that which ones were taken cannot be told from outside.
//
//go:noescape
func gather(out *pair, table *[32]pair, first, second uint64)

// amm8 sets out to a·b/2^1040 modulo m in each lane, with the bound that amm2 has, and out may be a or b.
//
//go:noescape
func amm8(out, a, b *lanes, m *moduli)

// amm8pick multiplies x by a power from the table, another in each lane, and reads the whole table. Byte i of
// which has bit i of the powers' exponents, a lane in each bit.
//
//go:noescape
func amm8pick(x *lanes, table *powers, which uint32, m *moduli)

// sqr8 multiplies x by itself, so many times. wide is for the squares before they are reduced.
//
//go:noescape
func sqr8(x *lanes, m *moduli, wide *[2 * digits]vector, times int)

// wipe clears the vector registers, where numbers of the key and what was opened with it are left: they would be in the
// next signal's frame.
func wipe()
