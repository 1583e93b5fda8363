// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// A namespace is the network namespace that interfaces and addresses are looked up in.
type namespace struct{ handle netns.NsHandle }

func currentNamespace() (namespace, error) {
	h, err := netns.Get()
	if err != nil {
		return namespace{}, fmt.Errorf("opening the network namespace: %w", err)
	}
	return namespace{h}, nil
}

func (n namespace) fd() int { return int(n.handle) }

func (n namespace) close() error { return n.handle.Close() }

// do runs f on a thread that is in the namespace. A thread that had to be moved there ends with f, so
// that nothing else runs in the wrong namespace.
func (n namespace) do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		here, err := netns.Get()
		if err != nil {
			result <- fmt.Errorf("opening the network namespace: %w", err)
			return
		}
		same := here.Equal(n.handle)
		_ = here.Close()
		if same {
			defer runtime.UnlockOSThread()
		} else if err := netns.Set(n.handle); err != nil {
			result <- fmt.Errorf("entering the network namespace: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}
