// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// endSignals ask for an orderly end.
var endSignals = []os.Signal{os.Interrupt, syscall.SIGTERM}

// reloads returns a channel that gets a word when the configuration is to be read again, and what
// ends it.
func reloads() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
