// SPDX-License-Identifier: Apache-2.0

//go:debug rsa1024min=0

package interop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var matrixSize = flag.String("matrix", "small", "cells of TestMatrix: `small` or full")

// scratch is removed when the tests have ended.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if scratch, err = os.MkdirTemp("", "sightglass-interop"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Servers that give up privileges still have to reach what they serve.
	err = os.Chmod(scratch, 0o755)
	status := m.Run()
	if err = errors.Join(err, os.RemoveAll(scratch)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = max(status, 1)
	}
	os.Exit(status)
}

// program builds sightglass, once.
var program = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	path := filepath.Join(scratch, "sightglass")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/sightglass/sightglass/cmd/sightglass")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building sightglass: %w\n%s", err, out)
	}
	return path, nil
})

// need ends the test when a program is missing: in CI it fails, elsewhere it is skipped.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := find(name); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed in CI", name)
		}
		t.Skipf("%s is not installed", name)
	}
}

// find finds a program, those of the administrator included.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}

// bound gives a test's work an end. What is made once for all tests does not count.
func bound(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	_, err := program()
	must(t, err)
	certificates(t)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
