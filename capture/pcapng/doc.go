// SPDX-License-Identifier: Apache-2.0

// Package pcapng reads capture files, pcap and pcapng, plain or compressed, and writes the copy of
// one that has a Decryption Secrets Block more. It knows files, blocks and timestamps, and nothing of
// what is in a packet.
//
// Readers give packets out of a buffer of the caller's, in one pass and without copying. A length
// that a file claims is never allocated: it is checked against a bound, or skipped over.
package pcapng
