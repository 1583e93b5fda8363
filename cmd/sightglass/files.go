// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/sightglass/sightglass/internal/config"
)

// outputFiles returns the files, and more of the command's own, that the settings write.
func outputFiles(o *config.Output, more ...string) []string {
	all := append([]string{o.EVE, o.PCAPNG, o.KeyLog}, more...)
	return slices.DeleteFunc(all, func(path string) bool { return path == "" || path == "-" })
}

// inputFiles returns what is read before and beside the captures.
func inputFiles(s *config.Settings) []string {
	all := []string{s.KeyLogIn, s.SessionStore}
	for _, k := range s.Keys {
		all = append(all, k.Certificate, k.Key, k.PassphraseFile)
	}
	return slices.DeleteFunc(all, func(path string) bool { return path == "" || path == "-" })
}

// apart checks that no output is one of the inputs, or another output: to open it empties it.
func apart(inputs, outputs []string) error {
	for i, out := range outputs {
		if slices.ContainsFunc(inputs, func(in string) bool { return sameFile(in, out) }) {
			return usagef("%s is read, too: name another file to write to", out)
		}
		if slices.ContainsFunc(outputs[:i], func(other string) bool { return sameFile(other, out) }) {
			return usagef("%s cannot have two outputs", out)
		}
	}
	return nil
}

// sameFile reports whether two paths lead to one regular file, or would.
func sameFile(a, b string) bool {
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	if errA != nil || errB != nil {
		return errA != nil && errB != nil && filepath.Clean(a) == filepath.Clean(b)
	}
	return fa.Mode().IsRegular() && os.SameFile(fa, fb)
}

// present checks that captures are there, before outputs are emptied for them.
func present(files []string) error {
	for _, path := range files {
		if path == "-" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	return nil
}

// placed checks that files can be where they are to be: in folders that are there.
func placed(files []string) error {
	for _, path := range files {
		folder := filepath.Dir(path)
		if fi, err := os.Stat(folder); err != nil {
			return fmt.Errorf("%s: its folder: %w", path, err)
		} else if !fi.IsDir() {
			return fmt.Errorf("%s: %s is no folder", path, folder)
		}
		if fi, err := os.Stat(path); err == nil && fi.IsDir() {
			return fmt.Errorf("%s: is a directory", path)
		}
	}
	return nil
}

// private takes from others what they may do with a file that holds secrets and was there before.
func private(path string) error {
	if path == "-" {
		return nil
	}
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("output: secrets: %w", err)
	}
	return nil
}
