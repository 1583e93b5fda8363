// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memoryBound returns how much memory the program may have, in bytes: the machine's, or less if its control groups or GOMEMLIMIT say so.
func memoryBound() uint64 {
	bound := uint64(debug.SetMemoryLimit(-1)) // changes nothing
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		bound = min(bound, uint64(info.Totalram)*uint64(info.Unit))
	}
	return min(bound, controlGroupBound(os.DirFS("/")))
}

// controlGroupBound returns the least memory.max of the program's control group and those above it (cgroup v2; Linux,
// Documentation/admin-guide/cgroup-v2.rst). Where there is none it is as large as can be.
func controlGroupBound(root fs.FS) uint64 {
	bound := uint64(math.MaxUint64)
	own, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range bytes.Lines(own) {
		group, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("0::"))
		if !ok {
			continue // of a controller of cgroup v1
		}
		for at := path.Clean("/" + string(group)); ; at = path.Dir(at) {
			text, _ := fs.ReadFile(root, path.Join("sys/fs/cgroup", at, "memory.max"))
			if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil { // "max" is none
				bound = min(bound, n)
			}
			if at == "/" {
				break
			}
		}
	}
	return bound
}
