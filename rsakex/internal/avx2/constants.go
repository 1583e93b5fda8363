// SPDX-License-Identifier: Apache-2.0

package avx2

// constants are what the kernels calculate with, the same in all lanes.
type constants struct {
	// What the columns of a product begin with, and those of a square, where most is doubled: so that nothing is left of what is
	// constant in the halves of products.
	forProduct [2 * digits]integers
	forSquare  [2 * digits]integers
	forK0      [blockDigits]integers // what those of the quotients by k0 begin with
	forLast    [blockDigits]integers // and what is added to those that the last quotients end

	upper   vector                // 2^104
	lower   vector                // 2^104 + 2^52
	one     vector                // 2^52
	mask    integers              // of a digit
	indices [1 << window]integers // 0 to 15
}

// The exponents of 2^104 and 2^52 as they stand in floating-point numbers: what is constant in the halves of a product, in
// units of 2^52.
const (
	upperBits = 1023 + 2*digitBits
	lowerBits = 1023 + digitBits
)

var consts = makeConstants()

// bias counts, for a column, the lower and the upper halves of products.
type bias [2 * digits]struct{ lower, upper int64 }

func (b *bias) add(column int) {
	b[column].lower++
	b[column+1].upper++
}

// of returns what is constant in them.
func (b *bias) of(column int) int64 {
	return b[column].lower*lowerBits + b[column].upper*upperBits
}

func makeConstants() (c constants) {
	var product, twice, square, reduction, last, timesK0 bias
	for i := range digits {
		for j := range digits {
			product.add(i + j)
			switch {
			case i < j:
				twice.add(i + j)
			case i == j:
				square.add(i + j)
			}
		}
	}
	for i := range blockDigits {
		for j := range digits {
			for begin := blockDigits; begin < digits; begin += blockDigits {
				reduction.add(begin + i + j)
			}
			last.add(digits - blockDigits + i + j)
		}
		for j := range blockDigits - i {
			timesK0.add(i + j)
		}
	}
	for i := range 2 * digits {
		after := reduction.of(i)
		if i >= digits {
			after += last.of(i)
		}
		c.forProduct[i] = all(-(product.of(i) + after) << digitBits)
		c.forSquare[i] = all(-(2*twice.of(i) + square.of(i) + after) << (digitBits - 1))
	}
	for i := range blockDigits {
		c.forK0[i] = all(-timesK0.of(i) << digitBits)
		c.forLast[i] = all(-last.of(digits-blockDigits+i) << digitBits)
	}
	c.upper = all[float64](1 << 104)
	c.lower = all[float64](1<<104 + 1<<52)
	c.mask = all[int64](digitMask)
	c.one = all[float64](1 << 52)
	for i := range c.indices {
		c.indices[i] = all(int64(i))
	}
	return c
}

func all[T int64 | float64](d T) [2 * BatchSize]T { return [...]T{d, d, d, d} }
