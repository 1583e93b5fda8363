// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"testing"
)

// alone has a test run in a process of its own, and reports whether it does. Where it returns false that was all.
func alone(t *testing.T) bool {
	t.Helper()
	const child = "SIGHTGLASS_TEST_ALONE"
	if os.Getenv(child) != "" {
		return true
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}
