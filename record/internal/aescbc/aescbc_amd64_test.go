// SPDX-License-Identifier: Apache-2.0

//go:build !purego

package aescbc

import "testing"

// TestNarrow: a processor with vectors of four blocks does as well with those of two, which others have alone.
func TestNarrow(t *testing.T) {
	if !has512 || !has256 {
		t.Skip("processor: no AVX-512: the other tests are of vectors of two blocks, if of any")
	}
	has512 = false
	defer func() { has512 = true }()
	TestEveryLength(t)
}
