// SPDX-License-Identifier: Apache-2.0

// Bench measures sightglass side by side with what its users would run instead: HAProxy, tshark and
// ssldump, on one machine, in one run, in network namespaces of its own. It prints a table of ratios and
// fails when one misses its target. Run it with scripts/bench.
//
// The peers that load the boxes are this program, too, started again inside the client's and the
// server's namespace. They speak TLS 1.2 with RSA key exchange for real, but cheaply, so that the two
// processors are left to what is measured: the client encrypts one premaster secret and sends it in
// every handshake, the server knows it, and what is sent in bulk was sealed before the clock runs.
package main
