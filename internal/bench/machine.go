// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// describeMachine says what was measured with, and on what.
func describeMachine(sightglass string) []string {
	lines := []string{
		fmt.Sprintf("processor: %s, %d of them", cpuModel(), runtime.NumCPU()),
		"memory: " + memory(),
		"kernel: " + firstLine("uname", "-srm"),
		"sightglass: " + firstLine(sightglass, "version"),
		"Go: " + runtime.Version(),
		"HAProxy: " + firstLine("haproxy", "-v"),
		"nginx: " + firstLine("nginx", "-v"),
		"OpenSSL: " + firstLine("openssl", "version"),
		"tshark: " + firstLine("tshark", "--version"),
		"ssldump: " + firstLine("ssldump", "-v"),
		"load before: " + load(),
	}
	return lines
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memory() string {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "MemTotal:"))
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	fields := strings.Fields(string(b))
	return strings.Join(fields[:3], " ")
}

// firstLine returns the first line that a program says about itself.
func firstLine(name string, args ...string) string {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	for line := range bytes.Lines(out) {
		if text := strings.TrimSpace(string(line)); text != "" && !strings.HasPrefix(text, "Running as user") {
			return text
		}
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
