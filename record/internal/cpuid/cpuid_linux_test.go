// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package cpuid

import (
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestAsTheKernelSays compares with what Linux found.
func TestAsTheKernelSays(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	if m := regexp.MustCompile(`(?m)^flags\s*: (.*)$`).FindSubmatch(info); m != nil && runtime.GOARCH == "amd64" {
		flags = strings.Fields(string(m[1]))
	}
	for flag, got := range map[string]bool{"sha_ni": SHA, "vaes": VAES, "vpclmulqdq": VPCLMULQDQ} {
		if want := slices.Contains(flags, flag); got != want {
			t.Errorf("%s: %v, and the kernel says %v", flag, got, want)
		}
	}
}
