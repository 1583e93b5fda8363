// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestApart(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need privileges here")
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("in"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Symlink(at("in"), at("link")), os.Link(at("in"), at("hard"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		in, out []string
		ok      bool
	}{
		"nothing":             {nil, nil, true},
		"another":             {[]string{at("in")}, []string{at("out")}, true},
		"the input":           {[]string{at("in")}, []string{at("in")}, false},
		"by another path":     {[]string{at("in")}, []string{dir + "/./in"}, false},
		"by a link":           {[]string{at("in")}, []string{at("link")}, false},
		"by a hard link":      {[]string{at("hard")}, []string{at("in")}, false},
		"the second input":    {[]string{at("other"), at("in")}, []string{at("out"), at("in")}, false},
		"two outputs":         {nil, []string{at("out"), at("out")}, false},
		"two, by a link":      {nil, []string{at("in"), at("link")}, false},
		"no file":             {[]string{os.DevNull}, []string{os.DevNull, os.DevNull}, true},
		"neither of them yet": {[]string{at("a")}, []string{at("b"), at("c")}, true},
	} {
		if err := apart(tt.in, tt.out); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPrivate(t *testing.T) {
	for _, mode := range []os.FileMode{0o666, 0o640, 0o600, 0o400} {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the mask
			t.Fatal(err)
		}
		if err := private(path); err != nil {
			t.Error(err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%v: is %v, error %v", mode, fi.Mode(), err)
		}
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("-", nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat("-"); private("-") != nil || err != nil || fi.Mode().Perm()&0o040 == 0 {
		t.Error("- is standard output")
	}
	for _, path := range []string{os.DevNull, filepath.Join(t.TempDir(), "none")} {
		if err := private(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
