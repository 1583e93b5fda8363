// SPDX-License-Identifier: Apache-2.0

// Package sink is what comes out of Sightglass: it takes the events of flows and writes key logs,
// EVE JSON, plaintext packets, conversations and summaries. It knows output formats and their
// readers; it knows nothing of records, keys, sockets or captures.
//
// # Wiring
//
// An [Output] is where one sink writes. [Create] opens a file (mode 0600, "-" is standard output)
// and [NewOutput] wraps a writer; each is given to exactly one sink, which then owns it:
//
//	NewKeyLog(out)                 --keylog            NSS key log lines
//	NewEVE(out, EVEOptions)        --eve               Suricata EVE JSON
//	NewPcapng(out, PcapngOptions)  --pcapng            plaintext as TCP packets
//	NewFollow(out, FollowOptions)  --follow            the conversation, for people
//	NewSummary(out, SummaryOptions)                    a line a flow, a final table
//	NewHAR(out, HAROptions)        --har               HTTP exchanges
//	NewRaw(out)                    --raw               the plaintext, for captures
//
// Three bring their own output:
//
//	NewStreams(dir, StreamsOptions)    --streams       one file a direction
//	NewServer(listener, ServerOptions) --pcap-over-ip  live pcapng over TCP
//	NewMirror(ifname, MirrorOptions)   --mirror        packets onto an interface (Linux)
//
// [NewFan] makes one session.Handler of them all. Options.Append suits key logs and EVE, which are
// lines; RotateSize and RotateTime suit all that Create opens but for NewRaw.
//
// # Who waits for whom
//
// The goroutine that reads a flow formats its records and copies them into a chunk of memory
// shared by a fraction of the flows only; a goroutine that the sink owns writes the chunks. With
// Options.Lossless a full queue blocks the caller (captures, whose input can wait); without it the
// record is dropped whole and counted (inline and sniff, whose input cannot). So what is written
// is well-formed in either case, and is visible to others within Options.FlushEvery.
// Raw alone has no queue: its caller writes.
//
// # Order
//
// Events come in order per flow only. Where several flows share a file, Options.Order says how
// records are ordered: as they come, by time within a short window that Options.Buffer bounds
// (live), or as one goroutine gives them (captures: the output is the same for any number of workers).
package sink
