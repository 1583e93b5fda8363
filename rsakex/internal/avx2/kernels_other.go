// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || purego

package avx2

const supported = false

func mul4(out, a, b *lanes, m *moduli, q *quotients) { panic("avx2: not supported") }

func sqr4(x *lanes, m *moduli, q *quotients, times int) { panic("avx2: not supported") }

func pick4(out *lanes, table *powers, which *[window]vector) { panic("avx2: not supported") }

func wipe() { panic("avx2: not supported") }
