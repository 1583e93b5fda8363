// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"fmt"
	"os"
	"strings"
)

// sysctlPath turns a key with slashes, or with dots and no slash, into its file. Values under net
// are those of the namespace of the thread that opens the file.
func sysctlPath(key string) string {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return "/proc/sys/" + key
}

func writeSysctl(key, value string) error {
	if err := os.WriteFile(sysctlPath(key), []byte(value), 0o644); err != nil {
		return fmt.Errorf("setting sysctl %s: %w", key, err)
	}
	return nil
}

func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(sysctlPath(key))
	if err != nil {
		return "", fmt.Errorf("reading sysctl %s: %w", key, err)
	}
	return strings.TrimSpace(string(b)), nil
}
