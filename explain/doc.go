// SPDX-License-Identifier: Apache-2.0

// Package explain tells people about handshakes: the story of one that was seen, why a flow could not
// be read and what to do about it, and whether a server would be readable at all. It knows words; it
// refuses to know keys and packets.
package explain
