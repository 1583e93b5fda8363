// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"fmt"
	"sync"
)

// output is what a process writes, readable while it does.
type output struct {
	mu     sync.Mutex
	b      []byte
	change chan struct{} // closed at the next write
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, b...)
	if o.change != nil {
		close(o.change)
		o.change = nil
	}
	return len(b), nil
}

// Bytes returns a copy of what was written so far.
func (o *output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.b)
}

func (o *output) String() string { return string(o.Bytes()) }

// next returns what was written from offset on, and a channel that is closed when there is more.
func (o *output) next(offset int) ([]byte, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.change == nil {
		o.change = make(chan struct{})
	}
	return bytes.Clone(o.b[offset:]), o.change
}

// wait waits until text has been written at or after offset, and returns the offset behind it.
func (o *output) wait(ctx context.Context, p *process, text string, offset int) (int, error) {
	var done <-chan struct{}
	if p != nil {
		done = p.Done()
	}
	for ended := false; ; {
		b, more := o.next(offset)
		if i := bytes.Index(b, []byte(text)); i >= 0 {
			return offset + i + len(text), nil
		}
		if ended {
			return 0, fmt.Errorf("it ended without %q:\n%s", text, o.Bytes())
		}
		select {
		case <-more:
		case <-done:
			ended = true
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for %q: %w:\n%s", text, ctx.Err(), o.Bytes())
		}
	}
}
