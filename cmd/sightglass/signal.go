// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// endSignals ask for an orderly end.
var endSignals = []os.Signal{os.Interrupt, syscall.SIGTERM}

// untilHangup returns a context that also ends with the terminal, unless that is to be outlived (nohup).
func untilHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	if signal.Ignored(syscall.SIGHUP) {
		return context.WithCancel(ctx)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second one ends the program at once
	return ctx, stop
}

// ignorePipes has a write to standard output fail, like any other, when its reader is gone. It would end the program, with
// what other outputs have yet to write, and inline with all connections.
func ignorePipes() { signal.Ignore(syscall.SIGPIPE) }

// reloads returns a channel that gets a word when the configuration is to be read again, and what
// ends it.
func reloads() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
