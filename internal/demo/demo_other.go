// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Package demo shows the whole program at work on one machine. It needs Linux.
package demo

import (
	"context"
	"errors"
	"io"
)

// ErrClaim says that something that was promised did not hold. It was told already.
var ErrClaim = errors.New("a claim did not hold")

// Run says that the demo needs Linux.
func Run(context.Context, string, io.Writer) error {
	return errors.New("the demo needs Linux (network namespaces); decrypt, explain and check work here")
}
