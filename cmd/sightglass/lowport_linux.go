// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// lowPort adds to a listener's error what it needs: bind(2) tells so that a port is below ip_unprivileged_port_start, 1024 by default.
func lowPort(err error) error {
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: a port below 1024 needs root, or the capability CAP_NET_BIND_SERVICE", err)
	}
	return err
}
