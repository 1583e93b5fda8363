// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"fmt"
	"sync"
	"testing"
)

// BenchmarkPool is one worker that has so many requests to open at a time.
func BenchmarkPool(b *testing.B) {
	key := key2048(b)
	ring := ringOf(b, key)
	q := testRequest(ring.Keys()[0], seal(b, key, testPremaster()))
	for _, at := range []int{1, 2, 3, 4, 64} {
		b.Run(fmt.Sprintf("%d at a time", at), func(b *testing.B) {
			pool := NewPool(ring, 1, at)
			defer pool.Close()
			b.ReportAllocs()
			for b.Loop() {
				var wg sync.WaitGroup
				wg.Add(at)
				for range at {
					pool.MasterSecret(q).Then(wg.Done)
				}
				wg.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*at), "ns/request")
		})
	}
}
