// SPDX-License-Identifier: Apache-2.0

package relay

// bufferSizes are what a read may take at once. A direction starts small and goes up while its reads
// fill the buffer: bulk pays for few calls, and a small flow whose peer takes nothing holds little.
var bufferSizes = [...]int{16 << 10, 64 << 10, 256 << 10}

// maxSpare is how many buffers of each size a loop keeps for the next reads.
const maxSpare = 8

// buffer is what one read filled.
type buffer struct {
	b     []byte
	class uint8
}

func (l *loop) getBuffer(class uint8) *buffer {
	if spare := l.spare[class]; len(spare) > 0 {
		l.spare[class] = spare[:len(spare)-1]
		return spare[len(spare)-1]
	}
	return &buffer{b: make([]byte, bufferSizes[class]), class: class}
}

func (l *loop) putBuffer(b *buffer) {
	if b != nil && len(l.spare[b.class]) < maxSpare {
		l.spare[b.class] = append(l.spare[b.class], b)
	}
}

// nextClass chooses the size for the read after one of n bytes, or after as many were spliced.
func nextClass(class uint8, n int) uint8 {
	switch {
	case n >= bufferSizes[class] && int(class) < len(bufferSizes)-1:
		return class + 1
	case class > 0 && n < bufferSizes[class-1]/2:
		return class - 1
	}
	return class
}
