// SPDX-License-Identifier: Apache-2.0

// Package avx2 is the private operation of RSA with a key of 2048 bits, for processors that multiply and add floating-point
// numbers side by side (AVX2, FMA), two ciphertexts at once. On AMD's Zen 3 it takes a quarter of the time that crypto/rsa does,
// half of it where one is alone, and as crypto/rsa's its instructions and its memory accesses depend on no secret: neither on the
// key nor on what comes out. Nor does the time of the instructions, as far as is known: no floating-point number is a fraction, or
// so small that it takes another time, and the flags of what was rounded are set before.
package avx2

import (
	"fmt"
	"io"
	"math/big"

	"github.com/sightglass/sightglass/rsakex/internal/crt"
)

const (
	digits    = crt.DigitCount
	digitBits = crt.DigitBits
	digitMask = 1<<digitBits - 1

	// blockDigits is how many digits of a product one step of its reduction takes.
	blockDigits = 4
)

type number = crt.Digits

// pair is a number modulo each of the two factors.
type pair [2]number

// block is a number modulo 2^208.
type block [blockDigits]uint64

// Key is a private key made ready. It is safe for concurrent use. It formats as a placeholder.
type Key struct {
	m       pair     // p and q
	shifted pair     // (m·k0 + 1)/2^208, see moduli
	k0      [2]block // -1/m modulo 2^208
	low     pair     // 2^2080 modulo m
	high    pair     // 2^3104 modulo m
	exp     [2]crt.Number
	qInv    pair // 1/q modulo p, times 2^1040, and 0
	q       crt.Number
}

// New makes a key ready from its factors p and q, and d modulo p-1 and q-1. It returns nil if this processor or
// this package cannot do with it; whether the numbers fit each other is the caller's to know.
func New(p, q, dp, dq *big.Int) *Key {
	if !supported || !crt.Fits(p, q, dp, dq) {
		return nil
	}
	inverse := new(big.Int).ModInverse(q, p)
	if inverse == nil {
		return nil
	}
	k := &Key{exp: [2]crt.Number{crt.FromBig(dp), crt.FromBig(dq)}, q: crt.FromBig(q)}
	for i, m := range []*big.Int{p, q} {
		k.m[i] = crt.DigitsFromBig(m)
		k0 := negInverse(m)
		k.k0[i] = toBlock(k0)
		k.shifted[i] = crt.DigitsFromBig(shifted(m, k0))
		k.low[i] = crt.PowerOfTwo(2*digits*digitBits, m)
		k.high[i] = crt.PowerOfTwo(2*digits*digitBits+crt.Factor, m)
	}
	inverse.Lsh(inverse, digits*digitBits)
	k.qInv[0] = crt.DigitsFromBig(inverse.Mod(inverse, p))
	return k
}

// Format writes a placeholder, whatever the verb.
func (*Key) Format(f fmt.State, _ rune) { io.WriteString(f, "[key]") }

// negInverse returns -1/m modulo 2^208.
func negInverse(m *big.Int) *big.Int {
	r := new(big.Int).Lsh(big.NewInt(1), blockDigits*digitBits)
	return r.Sub(r, new(big.Int).ModInverse(m, r))
}

// shifted returns (m·k0 + 1)/2^208.
func shifted(m, k0 *big.Int) *big.Int {
	v := new(big.Int).Mul(m, k0)
	return v.Add(v, big.NewInt(1)).Rsh(v, blockDigits*digitBits)
}

func toBlock(k0 *big.Int) block {
	n := crt.DigitsFromBig(k0)
	return block(n[:blockDigits])
}
