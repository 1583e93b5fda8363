// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the program, and what makes its input, commands of the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sightglass": main,
		"makecerts":  func() { helper(makeCerts) },
		"makecap":    func() { helper(makeCapture) },
		"serve":      func() { helper(serveTLS) },
	})
}

func helper(f func(args []string) error) {
	if err := f(os.Args[1:]); err != nil {
		os.Stderr.WriteString(filepath.Base(os.Args[0]) + ": " + err.Error() + "\n")
		os.Exit(1)
	}
}

// TestScripts runs testdata/*.txtar: the command line as a person meets it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"waitfile": waitFile},
	})
}

// waitFile waits for a file NAME.SUFFIX that a background command writes, and sets $NAME to what is in
// it, in capitals.
func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfile NAME.SUFFIX")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil {
			name, _, _ := strings.Cut(args[0], ".")
			ts.Setenv(strings.ToUpper(name), strings.TrimSpace(string(text)))
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not come", args[0])
		}
	}
}
