// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"math/big"

	"github.com/sightglass/sightglass/rsakex/internal/avx2"
	"github.com/sightglass/sightglass/rsakex/internal/crt"
	"github.com/sightglass/sightglass/rsakex/internal/ifma"
)

// maxBatch is the greatest batchSize.
const maxBatch = ifma.BatchSize

// batchSize is how many requests are opened side by side: more take no less time for each.
var batchSize = func() int {
	if ifma.Supported() {
		return ifma.BatchSize
	}
	return avx2.BatchSize
}()

// fastKey is a key of 2048 bits for the vector instructions of this processor. One of the two is there.
type fastKey struct {
	ifma *ifma.Key
	avx2 *avx2.Key
}

// newFastKey returns nil where the processor, or the size of the key, is not made for it.
func newFastKey(p, q, dp, dq *big.Int) *fastKey {
	if ifma.Supported() {
		if k := ifma.New(p, q, dp, dq); k != nil {
			return &fastKey{ifma: k}
		}
	} else if k := avx2.New(p, q, dp, dq); k != nil {
		return &fastKey{avx2: k}
	}
	return nil
}

// decrypt replaces a ciphertext c, which must be less than n, by c^d modulo n. It calls pause, unless that is nil, every 8 to
// 40 µs: always as often.
func (k *fastKey) decrypt(c *[crt.Size]byte, pause func()) {
	if k.ifma != nil {
		k.ifma.Decrypt(c[:], c[:], pause)
		return
	}
	avx2.NewBatch().Decrypt([]*avx2.Key{k.avx2}, [][]byte{c[:]}, pause)
}

// fastBatch does what fastKey does with up to maxBatch ciphertexts, in less time for each. It is working memory, for one
// goroutine at a time.
type fastBatch struct {
	ifma *ifma.Batch
	avx2 *avx2.Batch
}

func newFastBatch() *fastBatch {
	if ifma.Supported() {
		return &fastBatch{ifma: ifma.NewBatch()}
	}
	return &fastBatch{avx2: avx2.NewBatch()}
}

// worth reports whether so many are better decrypted in the batch than by their keys.
func (b *fastBatch) worth(n int) bool {
	if b.ifma != nil {
		return n >= ifma.BatchWorth
	}
	return n > 0
}

func (b *fastBatch) decrypt(keys []*fastKey, ciphertexts [][]byte, pause func()) {
	if b.ifma != nil {
		var wide [ifma.BatchSize]*ifma.Key
		for i, k := range keys {
			wide[i] = k.ifma
		}
		b.ifma.Decrypt(wide[:len(keys)], ciphertexts, pause)
		return
	}
	for len(keys) > 0 {
		n := min(len(keys), avx2.BatchSize)
		var narrow [avx2.BatchSize]*avx2.Key
		for i, k := range keys[:n] {
			narrow[i] = k.avx2
		}
		b.avx2.Decrypt(narrow[:n], ciphertexts[:n], pause)
		keys, ciphertexts = keys[n:], ciphertexts[n:]
	}
}
