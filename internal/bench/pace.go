// SPDX-License-Identifier: Apache-2.0

package main

import "time"

// pacer spreads bytes over time.
type pacer struct {
	rate  float64 // bytes a second; 0: no bound
	begun time.Time
	n     float64
}

func newPacer(rate float64) *pacer { return &pacer{rate: rate, begun: time.Now()} }

// piece is how much to send at once: all, or what is due in a thousandth of a second.
func (p *pacer) piece() int {
	if p.rate == 0 {
		return 1 << 30
	}
	return max(int(p.rate/1000), 1500)
}

// sent waits until n bytes more were due.
func (p *pacer) sent(n int) {
	if p.rate == 0 {
		return
	}
	p.n += float64(n)
	time.Sleep(time.Until(p.begun.Add(time.Duration(p.n / p.rate * float64(time.Second)))))
}
