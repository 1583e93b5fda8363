// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// hugeHeap is how much of the heap may be in huge pages. The runtime allocates at the lowest addresses that are free, so
	// this is what is used most. It is also the most that the program may keep, and have given back to the system otherwise.
	hugeHeap = 64 << 20
	// heapArena is what the runtime's heap consists of, in size and alignment (runtime/malloc.go).
	heapArena = 64 << 20
)

// hugePages asks for huge pages under the first hugeHeap bytes of the heap (transparent_hugepage is madvise by default, and the
// runtime asks for none). A relay is in the kernel every few microseconds, and where that empties the TLB, as with page
// tables that are isolated (PTI) and no PCID, the program looks up the pages of its heap again each time.
func hugePages() error {
	b := make([]byte, hugeHeap) // not touched: address space only
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	end := begin + hugeHeap
	begin &^= heapArena - 1 // with what was allocated before
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, begin, end-begin, unix.MADV_HUGEPAGE)
	runtime.KeepAlive(b)
	debug.FreeOSMemory() // the space, to the runtime
	// What is not mapped is left out of it (madvise(2)).
	if errno != 0 && !errors.Is(errno, unix.ENOMEM) {
		return fmt.Errorf("asking for huge pages: %w", errno)
	}
	return nil
}
