// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/sha256"
	"encoding/binary"
)

// chains keeps the certificates of each client once, however many sessions it has. It must be made by newChains.
type chains struct {
	numbers map[chainSum]chainNumber
	all     []chain     // by number
	free    chainNumber // of a chain that nobody uses, which leads to others by next; 0: none
}

type (
	chainSum    [sha256.Size]byte
	chainNumber int32 // 0: no chain
)

type chain struct {
	sum  chainSum
	der  [][]byte
	uses int
	next chainNumber // if it is free
}

// What a chain and each of its certificates count for, in bytes, beside the latter's own.
const (
	chainOverhead = 160
	derOverhead   = 32
)

func newChains() chains {
	return chains{numbers: make(map[chainSum]chainNumber), all: make([]chain, 1)}
}

// chainSize is what a chain counts for; nil: nothing.
func chainSize(der [][]byte) int {
	if der == nil {
		return 0
	}
	n := chainOverhead
	for _, b := range der {
		n += derOverhead + len(b)
	}
	return n
}

// use returns the number of a chain, for one more who uses it, and how many bytes there are more because of that. Of nil it is 0.
func (c *chains) use(der [][]byte) (n chainNumber, more int) {
	if der == nil {
		return 0, 0
	}
	sum := sumOf(der)
	n, ok := c.numbers[sum]
	if ok {
		c.all[n].uses++
		return n, 0
	}
	if n = c.free; n != 0 {
		c.free = c.all[n].next
	} else {
		n = chainNumber(len(c.all))
		c.all = append(c.all, chain{})
	}
	c.all[n] = chain{sum: sum, der: der, uses: 1}
	c.numbers[sum] = n
	return n, chainSize(der)
}

// leave says that one does not use a chain any more, and returns how many bytes there are less because of that.
func (c *chains) leave(n chainNumber) (less int) {
	if n == 0 {
		return 0
	}
	one := &c.all[n]
	if one.uses--; one.uses > 0 {
		return 0
	}
	less = chainSize(one.der)
	delete(c.numbers, one.sum)
	*one = chain{next: c.free}
	c.free = n
	return less
}

// of returns the certificates of a chain.
func (c *chains) of(n chainNumber) [][]byte { return c.all[n].der }

// sumOf tells chains apart, each certificate with its length before it.
func sumOf(der [][]byte) (sum chainSum) {
	h := sha256.New()
	for _, b := range der {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(b)))
		h.Write(length[:])
		h.Write(b)
	}
	h.Sum(sum[:0])
	return sum
}
