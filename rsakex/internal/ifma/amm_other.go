// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || purego

package ifma

const supported = false

func amm2(out, a, b, m *pair, k0 *[2]uint64) { panic("ifma: not supported") }

func gather(out *pair, table *[32]pair, first, second uint64) { panic("ifma: not supported") }

func amm8(out, a, b *lanes, m *moduli) { panic("ifma: not supported") }

func amm8pick(x *lanes, table *powers, which uint32, m *moduli) { panic("ifma: not supported") }

func sqr8(x *lanes, m *moduli, wide *[2 * digits]vector, times int) { panic("ifma: not supported") }

func wipe() { panic("ifma: not supported") }
