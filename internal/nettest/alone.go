// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Alone has a test run in a process of its own, and reports whether it does. Where it returns false that was all.
func Alone(t interface {
	T
	Name() string
}) bool {
	t.Helper()
	const child = "SIGHTGLASS_TEST_ALONE"
	if os.Getenv(child) != "" {
		return true
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatalf("%v", err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// TableSize is how many descriptors this process's table holds (proc_pid_status(5)).
func TableSize(t T) (size int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatalf("%v", err)
	}
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "FDSize: %d", &size); n == 1 {
			return size
		}
	}
	t.Fatalf("no FDSize in %s", status)
	return 0
}
