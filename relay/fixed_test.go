// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"testing"

	"github.com/sightglass/sightglass/relay"
)

// TestFixedAddress: an address needs no lookup, and IPv4 has its own form.
func TestFixedAddress(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:443": "192.0.2.1:443", "[::ffff:192.0.2.1]:443": "192.0.2.1:443", "[2001:db8::1]:443": "[2001:db8::1]:443",
	} {
		if got, lookup := relay.Fixed(in); got.String() != want || lookup != nil {
			t.Errorf("%s is %v, want %s and no lookup", in, got, want)
		}
	}
	if got, lookup := relay.Fixed("localhost:443"); got.IsValid() || lookup == nil {
		t.Errorf("a name is %v, and is not looked up", got)
	}
}
