// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestChains holds chains against a plain model of them: how many use each.
func TestChains(t *testing.T) {
	all := [][][]byte{nil, {}, {{}}, {{1}}, {{1, 2}}, {{1}, {2}}, {{}, {1, 2}}, {{1}, {}, {2}}, {{2}, {1}}}
	c := newChains()
	var users []int // of which chain
	numbers, total := make(map[int]chainNumber), 0
	rng := rand.New(rand.NewPCG(1, 2))
	for step := range 5000 {
		uses := make(map[int]int)
		for _, i := range users {
			uses[i]++
		}
		if i := rng.IntN(len(all)); rng.IntN(2) == 0 || len(users) == 0 {
			n, more := c.use(all[i])
			if first := uses[i] == 0 && i > 0; (more > 0) != first || !first && i > 0 && n != numbers[i] || (n == 0) != (i == 0) {
				t.Fatalf("step %d: chain %d is number %d, %d bytes more, with %d before", step, i, n, more, uses[i])
			}
			users, numbers[i], total = append(users, i), n, total+more
		} else {
			at := rng.IntN(len(users))
			i = users[at]
			users = append(users[:at], users[at+1:]...)
			less := c.leave(numbers[i])
			if last := uses[i] == 1 && i > 0; (less > 0) != last {
				t.Fatalf("step %d: %d bytes less, with %d before", step, less, uses[i])
			}
			total -= less
		}
		want := 0
		for _, i := range users {
			if got := c.of(numbers[i]); !reflect.DeepEqual(got, all[i]) {
				t.Fatalf("step %d: %v, want %v", step, got, all[i])
			}
		}
		seen := make(map[int]bool)
		for _, i := range users {
			if !seen[i] {
				seen[i] = true
				want += chainSize(all[i])
			}
		}
		if total != want || len(c.all) > len(all) {
			t.Fatalf("step %d: %d bytes, want %d; %d places", step, total, want, len(c.all))
		}
	}
}
