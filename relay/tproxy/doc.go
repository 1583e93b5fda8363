// SPDX-License-Identifier: Apache-2.0

// Package tproxy brings connections that pass through this host to sockets of this host, with both
// peers' addresses kept: transparent sockets, and the rules and routes that steer packets to them. It
// knows nothing of what is done with the connections.
//
// # How packets come here
//
// A SYN that comes in by a named interface, for a server and port that the configuration names, is
// given to the listener (nftables: tproxy). Every later packet of a connection that this host has a
// transparent socket for is kept here by that socket (nftables: socket transparent), whichever
// interface it comes in by: so the server's answers to the client's address are caught, and so are
// ICMP errors about packets that this host sent in a peer's name. Both kinds of packet get a mark, and
// a routing rule sends what is marked to a table that delivers everything locally. What is addressed
// to the host itself is never touched.
//
// # When no process runs
//
// The rules outlive a killed process. With WhenDown Forward they do no harm then: a SYN for which
// there is no listener goes on, and is forwarded like any packet. Connections that began while no
// process ran stay as they are when one starts, for only a SYN is ever caught; under a SYN flood that
// makes the kernel use SYN cookies, connections whose half-open entry was dropped fail. With Drop, what
// would be caught is dropped while there is no listener, after an orderly end, too, and connections
// that are in the middle when a process starts are reset.
//
// Connections that ran through a process that ends, end: their peers get a FIN or RST from the kernel.
//
// # Ownership
//
// All of it belongs to an instance: its nftables table, its routing table, and a lock that the kernel
// gives back when the process ends, however that is. Setup replaces what a dead process of the same
// instance left, removes what harmless dead ones left, and refuses to catch what a live one catches.
package tproxy
