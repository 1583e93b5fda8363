// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package pcapng

// awaitStdin is for systems where reads of standard input that wait cannot be ended.
func (in *Input) awaitStdin() error { return nil }
