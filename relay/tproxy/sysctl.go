// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"fmt"
	"os"
	"strings"
)

// warnings says what keeps this host from being the router that it should be. Nothing global is ever
// set in silence: the connections that are caught need none of it.
func warnings() []string {
	var all []string
	for _, key := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
		if value, ok := sysctl(key); ok && value == "0" {
			all = append(all, fmt.Sprintf("%s is 0: what is not caught is not forwarded; sysctl -w %s=1 makes this host a router", key, key))
		}
	}
	return all
}

func sysctl(key string) (string, bool) {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
	return strings.TrimSpace(string(b)), err == nil
}
