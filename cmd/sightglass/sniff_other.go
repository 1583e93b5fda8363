// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"

	"github.com/sightglass/sightglass/internal/config"
)

func runSniff(context.Context, *env, config.Settings, *selection, string) error {
	return errors.New("sniff needs Linux (AF_PACKET): here, write a capture file and decrypt that")
}
