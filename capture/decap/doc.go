// SPDX-License-Identifier: Apache-2.0

// Package decap finds the TCP segment in a packet, through whatever the packet is wrapped in: link
// layers, tags, labels, tunnels and IP fragments. It knows headers and lengths, and nothing of
// connections.
//
// Nothing that a packet says of itself is believed beyond the bytes that are there, and the number
// of layers is bounded. Checksums are not verified: packets captured where they are sent have none
// yet, as network cards fill them in.
package decap
