// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLowPort(t *testing.T) {
	for cause, hint := range map[error]bool{unix.EACCES: true, unix.EADDRINUSE: false} {
		err := lowPort(fmt.Errorf("listening: %w", cause))
		if !errors.Is(err, cause) || strings.Contains(err.Error(), "CAP_NET_BIND_SERVICE") != hint {
			t.Errorf("%v: %v", cause, err)
		}
	}
	if err := lowPort(nil); err != nil {
		t.Error(err)
	}
}
