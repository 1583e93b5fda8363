// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a fault of the command line, not of the world.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errSilent ends the program with status 1 when everything was said already.
var errSilent = errors.New("")

// run runs the command until it ends or a signal asks it to, and returns the exit status.
func run(e *env, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), endSignals...)
	defer stop()
	// A second signal ends the program at once, in the system's way.
	context.AfterFunc(ctx, stop)
	return execute(ctx, e, args)
}

// execute runs the command until it ends or ctx does, and returns the exit status.
func execute(ctx context.Context, e *env, args []string) int {
	stopProfile, err := e.profile()
	if err != nil {
		e.warn("%s", oneLine(err))
		return exitFailed
	}
	defer stopProfile()
	root := rootCommand(e)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var usage usageError
	switch {
	case errors.As(err, &usage):
		e.warn("%s (see %q)", oneLine(err), cmd.CommandPath()+" --help")
		return exitUsage
	case !errors.Is(err, errSilent):
		e.warn("%s", oneLine(err))
	}
	return exitFailed
}

// oneLine keeps an error of several on one line.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// command is a row of the table of subcommands.
type command struct {
	group string
	build func(*env) *cobra.Command
}

const (
	groupRead = "read"
	groupHelp = "help"
)

var commands = []command{
	{groupRead, inlineCommand},
	{groupRead, sniffCommand},
	{groupRead, decryptCommand},
	{groupHelp, checkCommand},
	{groupHelp, explainCommand},
	{groupHelp, configCommand},
	{groupHelp, demoCommand},
	{groupHelp, versionCommand},
}

func rootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "sightglass",
		Short: "Reads TLS with the server's RSA private key",
		Long: `Sightglass reads TLS while the session, and the client certificate in it, stays end to end.
Holding the server's RSA private key it derives the keys that both peers derive: standing between
them, listening beside them, or from a capture made earlier.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd) })
	root.AddGroup(&cobra.Group{ID: groupRead, Title: "The three ways in"}, &cobra.Group{ID: groupHelp, Title: "Around them"})
	for _, c := range commands {
		sub := c.build(e)
		sub.GroupID = c.group
		root.AddCommand(sub)
	}
	root.SetHelpCommandGroupID(groupHelp)
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Args = helpTopic
	}
	return root
}

// helpTopic refuses what there is no help about.
func helpTopic(cmd *cobra.Command, args []string) error {
	topic, rest, err := cmd.Root().Find(args)
	if err != nil {
		return usageError{err}
	}
	return unknownCommand(topic, rest)
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	err := fmt.Errorf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %q?", err, near[0])
	}
	return usageError{err}
}

// arguments wraps cobra's checks of the number of arguments.
func arguments(check cobra.PositionalArgs, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) != nil {
			return usagef("%s: %s, not %d", cmd.Name(), what, len(args))
		}
		return nil
	}
}
