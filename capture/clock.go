// SPDX-License-Identifier: Apache-2.0

package capture

import "math"

// clock follows capture time. Packets a little out of order do not turn it back, and one packet with
// a time far off does not move it: only a second one does.
type clock struct {
	now   int64 // nanoseconds since 1970
	begun bool
	off   bool // the last packet's time was far off
}

// maxJump is how far apart the times of two packets are before that has to be confirmed.
const maxJump = 60e9

// maxTime keeps sums with times from overflowing.
const maxTime = math.MaxInt64 / 2

// at takes the time of a packet and returns the time of what it causes.
func (c *clock) at(t int64) int64 {
	t = max(min(t, maxTime), -maxTime)
	if ahead := t - c.now; c.begun && (ahead > maxJump || ahead < -maxJump) {
		if !c.off {
			c.off = true
			return t
		}
		c.now = t
	}
	c.off = false
	if !c.begun || t > c.now {
		c.now, c.begun = t, true
	}
	return c.now
}
