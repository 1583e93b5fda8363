// SPDX-License-Identifier: Apache-2.0

// Package tproxy brings connections that pass through this host to sockets of this host, with both
// peers' addresses kept: transparent sockets, and what steers packets to them. It knows nothing of what
// is done with the connections.
//
// # How packets come here
//
// A SYN that comes in by a named interface, for a server and port that the rules name, is given to a
// listener. Every later packet of a connection that this host has a transparent socket for is kept here
// by that socket, whichever interface it comes in by: so the server's answers to the client's address
// are caught, and so are ICMP errors about packets that this host sent in a peer's name. Both kinds of
// packet get a mark, and a routing rule sends what is marked to a table that delivers everything
// locally. What is addressed to the host itself is never touched.
//
// There are two ways to do so, which differ in nothing that a connection could tell. NFTables is a
// table of nftables (tproxy, socket transparent). EBPF is the program of package bpf at the interfaces'
// ingress, and needs no nftables at all. The tests are one suite for both.
//
// # Rules
//
// Ports and networks may change while connections go on, in one step. Of all networks that a server is
// in the longest decides, and connections are counted by the network that did.
//
// # When no process runs
//
// What steers outlives a killed process, except programs that are attached by TCX and forward. With
// WhenDown Forward it does no harm then: a SYN for which there is no listener goes on, and is forwarded
// like any packet. Connections that began while no process ran stay as they are when one starts, for
// only a SYN is ever caught; under a SYN flood that makes the kernel use SYN cookies, with nftables,
// connections whose half-open entry was dropped fail. With Drop, what would be caught is dropped while
// there is no listener, after an orderly end, too, and connections that are in the middle when a
// process starts are reset.
//
// Connections that ran through a process that ends, end: their peers get a FIN or RST from the kernel.
//
// # Ownership
//
// All of it belongs to an instance: its nftables table or its programs, its routing table, and locks
// that the kernel gives back when the process ends, however that is. Setup takes the place of what a
// dead process of the same instance left, whichever way that steered, removes what harmless dead ones
// left, and refuses to catch what a live one catches.
package tproxy
