// SPDX-License-Identifier: Apache-2.0

// Package reassembly puts the two byte streams of a TCP connection together from its segments, as a
// capture shows them: out of order, repeated, overlapping, or missing. It knows sequence numbers,
// and nothing of what the streams say.
//
// What is in order goes on at once, in the buffer it came in. What is not is copied and held:
//
//   - Bytes are never delivered twice, and of overlapping segments the bytes that came first count.
//   - A side's bytes wait for the other side's bytes that they acknowledge, so that the streams keep
//     the order of cause and effect where a capture does not.
//   - A hole is given up, and told as a gap, when the receiver has acknowledged what is in it and a
//     window for reordered packets has passed: it was not captured. A hole that is not
//     acknowledged is waited for much longer, since its sender will send it again.
//   - Without a SYN, a stream begins with its earliest segment within the reordering window.
//
// The memory held is bounded for each connection, and the time in packets and in capture time.
// gopacket/reassembly was not used: it copies every segment into pages, flushes by wall-clock age
// and knows no order between the two directions.
package reassembly
