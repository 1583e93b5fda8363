// SPDX-License-Identifier: Apache-2.0

package rc2

import (
	"encoding/hex"
	"testing"
)

// The vectors of RFC 2268, Section 5.
func TestVectors(t *testing.T) {
	for _, tt := range []struct {
		key       string
		effective int
		plain     string
		cipher    string
	}{
		{"0000000000000000", 63, "0000000000000000", "ebb773f993278eff"},
		{"ffffffffffffffff", 64, "ffffffffffffffff", "278b27e42e2f0d49"},
		{"3000000000000000", 64, "1000000000000001", "30649edf9be7d2c2"},
		{"88", 64, "0000000000000000", "61a8a244adacccf0"},
		{"88bca90e90875a", 64, "0000000000000000", "6ccf4308974c267f"},
		{"88bca90e90875a7f0f79c384627bafb2", 64, "0000000000000000", "1a807d272bbe5db1"},
		{"88bca90e90875a7f0f79c384627bafb2", 128, "0000000000000000", "2269552ab0f85ca6"},
		{"88bca90e90875a7f0f79c384627bafb216f80a6f85920584c42fceb0be255daf1e", 129, "0000000000000000", "5b78d3a43dfff1f1"},
	} {
		key, _ := hex.DecodeString(tt.key)
		b, _ := hex.DecodeString(tt.plain)
		c, err := NewCipher(key, tt.effective)
		if err != nil {
			t.Fatal(err)
		}
		c.Encrypt(b, b)
		if got := hex.EncodeToString(b); got != tt.cipher {
			t.Errorf("%s/%d: Encrypt = %s, want %s", tt.key, tt.effective, got, tt.cipher)
		}
		c.Decrypt(b, b)
		if got := hex.EncodeToString(b); got != tt.plain {
			t.Errorf("%s/%d: Decrypt = %s, want %s", tt.key, tt.effective, got, tt.plain)
		}
	}
	if _, err := NewCipher(nil, 64); err == nil {
		t.Error("an empty key was taken")
	}
}
