// SPDX-License-Identifier: Apache-2.0

// Package afpacket reads packets of a live interface out of a ring that it shares with the Linux
// kernel (AF_PACKET, TPACKET_V3). It knows sockets and the ring, and nothing of what is in a packet.
//
// gopacket/afpacket was not used: it receives before a filter can be attached, does not show what
// the kernel says beside a packet, and takes a lock and a call for each packet where this package
// hands out blocks.
package afpacket
