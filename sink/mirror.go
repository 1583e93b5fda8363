// SPDX-License-Identifier: Apache-2.0

package sink

// MirrorOptions say how packets are mirrored. The zero value is good.
type MirrorOptions struct {
	// MTU bounds the packets made, in bytes of IP; zero is the interface's, at most 1500.
	MTU int
	// Buffer bounds the memory, in bytes, before the interface; zero is 8 MiB.
	Buffer int
}
