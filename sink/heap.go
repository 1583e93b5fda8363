// SPDX-License-Identifier: Apache-2.0

package sink

// held is a record that waits for its turn.
type held struct {
	time int64
	flow uint64
	seq  uint64 // of arrival: keeps the order within a flow
	i    int    // of its frame in ch
	ch   *chunk
}

func (a *held) before(b *held) bool {
	if a.time != b.time {
		return a.time < b.time
	}
	if a.flow != b.flow {
		return a.flow < b.flow
	}
	return a.seq < b.seq
}

// recordHeap is a binary heap by time, flow and arrival. (container/heap would allocate for each
// record.)
type recordHeap []held

func (p *recordHeap) push(h held) {
	s := append(*p, h)
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !s[i].before(&s[up]) {
			break
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
	*p = s
}

// pop returns the first of a heap that is not empty.
func (p *recordHeap) pop() held {
	s := *p
	top := s[0]
	last := len(s) - 1
	s[0], s[last] = s[last], held{}
	s = s[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if s[c].before(&s[least]) {
				least = c
			}
		}
		if least == i {
			break
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
	*p = s
	return top
}
