// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

// TestFixedAddress: an address needs no lookup, and IPv4 has its own form.
func TestFixedAddress(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:443": "192.0.2.1:443", "[::ffff:192.0.2.1]:443": "192.0.2.1:443", "[2001:db8::1]:443": "[2001:db8::1]:443",
	} {
		if got, lookup := Fixed(in); got.String() != want || lookup != nil {
			t.Errorf("%s is %v, want %s and no lookup", in, got, want)
		}
	}
	if got, lookup := Fixed("localhost:443"); got.IsValid() || lookup == nil {
		t.Errorf("a name is %v, and is not looked up", got)
	}
}

func TestListenError(t *testing.T) {
	for errno, hint := range map[syscall.Errno]bool{syscall.EACCES: true, syscall.EADDRINUSE: false} {
		err := listenError(errno)
		if !errors.Is(err, errno) || strings.Contains(err.Error(), "CAP_NET_BIND_SERVICE") != hint {
			t.Errorf("%v: %v", errno, err)
		}
	}
}
