// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sightglass/sightglass/internal/config"
)

// TestDocsNameEverySetting keeps docs/configuration.md complete: each flag that sets what a file can
// set, and each key of the file.
func TestDocsNameEverySetting(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	docs := string(text)
	for _, build := range []func(*env) *cobra.Command{inlineCommand, sniffCommand} {
		cmd := build(&env{})
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			selects := len(f.Annotations[groupKey]) > 0 && strings.HasPrefix(f.Annotations[groupKey][0], "Which flows")
			if f.Name != "help" && f.Name != "config" && !selects && !strings.Contains(docs, "`--"+f.Name) {
				t.Errorf("--%s of %s is not in docs/configuration.md", f.Name, cmd.Name())
			}
		})
	}
	for _, key := range keysOf(reflect.TypeFor[config.Settings]()) {
		if !strings.Contains(docs, "`"+key) && !strings.Contains(docs, "["+key) {
			t.Errorf("the key %s is not in docs/configuration.md", key)
		}
	}
}

// keysOf lists the keys of a struct and of those within it.
func keysOf(typ reflect.Type) []string {
	var keys []string
	for f := range typ.Fields() {
		name, ok := f.Tag.Lookup("toml")
		if !ok {
			continue
		}
		keys = append(keys, name)
		inner := f.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			keys = append(keys, keysOf(inner)...)
		}
	}
	return keys
}

// TestHelp shows every command's help: it names what the command does, and every flag has words.
func TestHelp(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		var out strings.Builder
		cmd.SetOut(&out)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "Usage:\n  "+cmd.CommandPath()) {
			t.Errorf("%s: %s", cmd.CommandPath(), out.String())
		}
		for line := range strings.Lines(out.String()) {
			if len([]rune(line)) > 125 {
				t.Errorf("%s: a line of %d characters: %s", cmd.CommandPath(), len(line), line)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no words", cmd.CommandPath(), f.Name)
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(rootCommand(&env{stdin: strings.NewReader(""), stdout: t.Output(), stderr: t.Output()}))
}
