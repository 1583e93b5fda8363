// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || purego

package avx2

const supported = false

func mul4(out, a, b *lanes, m *moduli, s *sums, c *constants) { panic("avx2: not supported") }

func sqr4(x *lanes, m *moduli, s *sums, c *constants, times int) { panic("avx2: not supported") }

func pick4(out *lanes, table *powers, which *integers, c *constants) { panic("avx2: not supported") }

func wipe() { panic("avx2: not supported") }
