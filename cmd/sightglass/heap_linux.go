// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// mostReady is how much of the heap there is from the beginning, in bytes, where there is memory enough.
	mostReady = 96 << 20
	// heapArena is what the runtime's heap consists of, in size and alignment (runtime/malloc.go).
	heapArena = 64 << 20
	hugePage  = 2 << 20
)

// readyHeap returns how much of the heap is to be there from the beginning, in bytes: no more than a sixteenth of what memory the
// program may have.
func readyHeap() int {
	return int(min(mostReady, memoryBound()/16)) &^ (hugePage - 1)
}

// prepareHeap asks for huge pages under the first bytes of the heap (transparent_hugepage is madvise by default, and the
// runtime asks for none), of which there are so many then. The runtime allocates at the lowest addresses that are free, so these are
// what is used most. A relay is in the kernel every few microseconds, and where that empties the TLB, as with page
// tables that are isolated (PTI) and no PCID, the program looks up the pages of its heap again each time.
//
// To be given a huge page takes milliseconds, on a virtual machine above all, and connections would wait for that: what a relay
// uses soon there is before any comes.
func prepareHeap(size int) error {
	if size == 0 {
		return nil
	}
	b := make([]byte, size) // not touched, either
	space := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	arena := space &^ (heapArena - 1)
	err := advise(arena, space+uintptr(size), unix.MADV_HUGEPAGE) // with what was allocated before
	runtime.KeepAlive(b)
	debug.FreeOSMemory() // the space, to the runtime
	if err != nil {
		return fmt.Errorf("asking for huge pages: %w", err)
	}
	if err := advise(space, space+uintptr(size), unix.MADV_POPULATE_WRITE); err != nil {
		return fmt.Errorf("asking for memory: %w", err)
	}
	// What is before it, as far as it is the heap's: the runtime begins at random in its arena.
	at := space
	for step := uintptr(hugePage); step >= uintptr(os.Getpagesize()); step /= 2 {
		for at >= arena+step && madvise(at-step, at, unix.MADV_POPULATE_WRITE) == 0 {
			at -= step
		}
	}
	return nil
}

// advise is madvise of what may be mapped in part. What is not is left out.
func advise(begin, end uintptr, advice int) error {
	if errno := madvise(begin, end, advice); errno != 0 && errno != unix.ENOMEM {
		return errno
	}
	return nil
}

// madvise is madvise(2) of the runtime's own memory.
func madvise(begin, end uintptr, advice int) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, begin, end-begin, uintptr(advice))
	return errno
}
