// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"fmt"
	"testing"
)

// BenchmarkPool is one worker that opens so many requests together.
func BenchmarkPool(b *testing.B) {
	key := key2048(b)
	ring := ringOf(b, key)
	q := testRequest(ring.Keys()[0], seal(b, key, testPremaster()))
	p, batch := newPool(ring, 1), newFastBatch()
	for at := 1; at <= batchSize; at++ {
		b.Run(fmt.Sprintf("%d at a time", at), func(b *testing.B) {
			b.ReportAllocs()
			var jobs [maxBatch]job
			for b.Loop() {
				for i := range at {
					_, settle := NewSecret()
					jobs[i] = job{request: q, settle: settle}
				}
				p.open(batch, jobs[:at], nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*at), "ns/request")
		})
	}
}
