// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"

	"github.com/sightglass/sightglass/internal/config"
)

func runInline(context.Context, *env, config.Settings, func() (config.Settings, error)) error {
	return errors.New("inline needs Linux (TPROXY); decrypt, explain and check work here")
}
