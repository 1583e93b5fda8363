// SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package rsakex

import "os"

// lockFile has no lock to take on this system: that no second process uses the store is up to the
// user.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explainOpen(err)
	}
	return f, nil
}
