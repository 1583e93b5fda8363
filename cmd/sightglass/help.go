// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// groupKey is the annotation that says under which heading a flag is shown.
const groupKey = "group"

// inGroup puts flags that were added by add under a heading.
func inGroup(flags *pflag.FlagSet, heading string, add func()) {
	defer func(sorted bool) { flags.SortFlags = sorted }(flags.SortFlags)
	flags.SortFlags = false // in the order of their coming, which takes no sorting at each start
	before := 0
	flags.VisitAll(func(*pflag.Flag) { before++ })
	add()
	flags.VisitAll(func(f *pflag.Flag) {
		if before--; before < 0 {
			f.Annotations = map[string][]string{groupKey: {heading}}
		}
	})
}

// writeHelp shows a command: what it does, how it is called, its flags by heading, examples.
func writeHelp(cmd *cobra.Command) {
	var b strings.Builder
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", text, useLine(cmd))
	writeCommands(&b, cmd)
	writeFlags(&b, cmd)
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n\"%s COMMAND --help\" says more about a command.\n", cmd.CommandPath())
	}
	fmt.Fprint(cmd.OutOrStdout(), b.String())
}

func useLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	line := cmd.CommandPath()
	if _, rest, ok := strings.Cut(cmd.Use, " "); ok {
		line += " " + strings.ReplaceAll(rest, "\n", "\n  "+cmd.CommandPath()+" ")
	}
	return line
}

func writeCommands(b *strings.Builder, cmd *cobra.Command) {
	list := func(group string) {
		for _, c := range cmd.Commands() {
			if c.GroupID == group && c.IsAvailableCommand() && c.Name() != "help" {
				fmt.Fprintf(b, "  %-10s %s\n", c.Name(), c.Short)
			}
		}
	}
	for _, g := range cmd.Groups() {
		fmt.Fprintf(b, "\n%s:\n", g.Title)
		list(g.ID)
	}
	if cmd.HasAvailableSubCommands() && len(cmd.Groups()) == 0 {
		b.WriteString("\nCommands:\n")
		list("")
	}
}

func writeFlags(b *strings.Builder, cmd *cobra.Command) {
	var headings []string
	byHeading := map[string][]*pflag.Flag{}
	cmd.Flags().SortFlags = false
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		heading := "Flags"
		if h := f.Annotations[groupKey]; len(h) > 0 {
			heading = h[0]
		}
		if byHeading[heading] == nil {
			headings = append(headings, heading)
		}
		byHeading[heading] = append(byHeading[heading], f)
	})
	for _, heading := range headings {
		fmt.Fprintf(b, "\n%s:\n", heading)
		for _, f := range byHeading[heading] {
			writeFlag(b, f)
		}
	}
}

// flagColumn is where the words about a flag start.
const flagColumn = 30

func writeFlag(b *strings.Builder, f *pflag.Flag) {
	left := "      --" + f.Name
	if f.Shorthand != "" {
		left = "  -" + f.Shorthand + ", --" + f.Name
	}
	if t := f.Value.Type(); t != "" && t != "bool" {
		left += " " + t
	}
	words := f.Usage
	if f.DefValue != "" && f.DefValue != "false" {
		words += " (" + f.DefValue + ")"
	}
	if len(left) >= flagColumn {
		fmt.Fprintf(b, "%s\n%*s%s\n", left, flagColumn, "", words)
		return
	}
	fmt.Fprintf(b, "%-*s%s\n", flagColumn, left, words)
}
