// SPDX-License-Identifier: Apache-2.0

package relay

import "sync"

// bufferSizes are what a read may take at once. A direction starts small and goes up while its reads
// fill the buffer: bulk pays for few calls, and a stalled small flow holds little.
var bufferSizes = [...]int{16 << 10, 64 << 10, 256 << 10}

// buffer is what one read filled. It belongs to the reading goroutine until free.
type buffer struct {
	b     []byte
	class uint8
}

var buffers [len(bufferSizes)]sync.Pool

func getBuffer(class uint8) *buffer {
	if v := buffers[class].Get(); v != nil {
		return v.(*buffer)
	}
	return &buffer{b: make([]byte, bufferSizes[class]), class: class}
}

func (b *buffer) free() { buffers[b.class].Put(b) }

// nextClass chooses the size for the read after one of n bytes.
func nextClass(class uint8, n int) uint8 {
	switch {
	case n == bufferSizes[class] && int(class) < len(bufferSizes)-1:
		return class + 1
	case class > 0 && n < bufferSizes[class-1]/2:
		return class - 1
	}
	return class
}
