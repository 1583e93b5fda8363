// SPDX-License-Identifier: Apache-2.0

// Package interop holds no code, only tests: real TLS programs on both sides of the real sightglass,
// in network namespaces. What a peer is called, how it is started and what it can negotiate is known
// here and nowhere else.
//
//	go test ./internal/interop    what is run every time
//	make matrix                   every peer with every other, in all versions and suites
package interop
