// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/sightglass/sightglass/internal/nettest"
	"golang.org/x/sys/unix"
)

// TestPrepareHeap: what is allocated next is there already, and may be in huge pages. A kernel without them says so. It is looked at in a
// process of its own, as by other tests this one may have a larger heap, with room elsewhere.
func TestPrepareHeap(t *testing.T) {
	if !nettest.Alone(t) {
		return
	}
	if err := prepareHeap(mostReady); err != nil {
		if _, missing := os.Stat("/sys/kernel/mm/transparent_hugepage"); errors.Is(missing, fs.ErrNotExist) && errors.Is(err, unix.EINVAL) {
			return
		}
		t.Fatal(err)
	}
	next := make([]byte, 1<<20) // of its own pages: a span of small ones may have come while prepareHeap had the space
	flags, err := pageFlags(uintptr(unsafe.Pointer(unsafe.SliceData(next))))
	if err != nil || !slices.Contains(flags, "hg") {
		t.Errorf("flags %v, %v, want hg", flags, err)
	}
	resident := make([]byte, (len(next)+os.Getpagesize()-1)/os.Getpagesize()) // a byte a page: mincore(2)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(next))), uintptr(len(next)),
		uintptr(unsafe.Pointer(unsafe.SliceData(resident))))
	if errno != 0 || slices.Contains(resident, 0) {
		t.Errorf("pages that are there: %v, %v, want all", resident, errno)
	}
}

// pageFlags returns the flags of the mapping that an address is in (proc_pid_smaps(5)).
func pageFlags(address uintptr) ([]string, error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	inside := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			inside = from <= address && address < to
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && inside {
			return strings.Fields(flags), nil
		}
	}
	return nil, errors.Join(fmt.Errorf("no mapping has %x", address), lines.Err())
}
