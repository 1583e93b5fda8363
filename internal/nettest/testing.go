// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"os"
	"sync"
)

// T is what the package needs of a testing.TB; so it need not import testing, and the program that
// uses it for its demo need not either.
type T interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

var probe = sync.OnceValue(func() error {
	n, err := New("probe")
	if err != nil {
		return err
	}
	return n.Close()
})

// Supported says why namespaces cannot be made here, or nil.
func Supported() error { return probe() }

// Require ends the test unless namespaces can be made here. In CI it fails: a namespace test that
// is skipped there shows nothing.
func Require(t T) {
	t.Helper()
	err := Supported()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("network namespaces are needed in CI: %v", err)
	default:
		t.Skipf("network namespaces are needed: %v", err)
	}
}

// Host makes a namespace that ends with the test.
func Host(t T, name string) *Namespace {
	t.Helper()
	Require(t)
	n, err := New(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("closing %s: %v", name, err)
		}
	})
	return n
}

// Hosts makes a Topology that ends with the test.
func Hosts(t T) *Topology {
	t.Helper()
	Require(t)
	top, err := NewTopology()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := top.Close(); err != nil {
			t.Errorf("closing the topology: %v", err)
		}
	})
	return top
}
