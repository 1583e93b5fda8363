// SPDX-License-Identifier: Apache-2.0

// Package capture feeds sessions from packets: those of capture files, or of a live interface. It
// knows packets, connections and the order of things, and leaves to the sessions what the streams
// say.
//
// # Order
//
// [Decrypt] reads with all processors and yet shows events in one order, the packets', whatever the
// number of workers. One goroutine reads packets into batches, each in a buffer of its own, finds the
// TCP segments in them and deals these out to the workers by a hash of the flow. A worker owns its
// flows: it reassembles them and feeds their sessions, and records the events with the number of the
// packet that caused them. When all workers are done with a batch, its events are merged by that
// number and handed to the handler, in the goroutine that called Decrypt.
//
// The batches are a ring of fixed size: memory is bounded by it and by the open flows, never by the
// file. A worker whose events grow beyond their share of it (compressed records can) stops until they
// are merged. What bounds flows and held segments is decided where a batch begins, from the sums that
// an earlier batch left, so that it does not depend on the number of workers either. And where a
// session looks up what another may have left, a resumed session, its worker first waits until all
// workers have come as far as its packet.
//
// Secrets are taken from Decryption Secrets Blocks wherever they stand: a pcapng file is first read
// through for them. Only in what can be read once, standard input, do they have to come first.
//
// # Live
//
// A [Sniffer] has no order to keep but each flow's own, and no time to lose: the goroutine that reads
// a ring takes each packet, where it lies, through reassembly and session to the handler. Flows are
// spread over shards with a lock each, as their directions may come from different interfaces. The
// private key works meanwhile, and a session that waits for it goes on when it is done.
package capture
