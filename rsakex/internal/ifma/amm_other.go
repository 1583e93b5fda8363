// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || purego

package ifma

const supported = false

func amm2(out, a, b, m *pair, k0 *[2]uint64) { panic("ifma: not supported") }

func gather(out *pair, table *[32]pair, first, second uint64) { panic("ifma: not supported") }
