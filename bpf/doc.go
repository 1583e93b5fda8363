// SPDX-License-Identifier: Apache-2.0

// Package bpf knows what the kernel can do with a packet before a byte reaches user space: steering,
// which hands TCP packets on their way through the box to sockets of the box, and shunting, which
// drops what a packet socket's reader need not see. It knows nothing of TLS, and nothing of what its
// callers do with the connections or the packets that remain.
//
// Linux only, from 5.10 on. On other systems the package has its errors and nothing else.
//
// # Lifetimes
//
// The programs are compiled C, committed as objects for both byte orders; no compiler is needed to
// build or run. What is parsed from them, and what is set in them before loading, is only memory. Live
// objects are of the kernel: a Steer owns its programs, maps and links, a Shunt its programs and its
// table of flows, and Close gives them back. What still uses a program keeps it beyond that: a packet
// socket its filter, a pinned link or a clsact filter the steering program.
//
// # Steering
//
// A Steer is loaded with its rules, given listeners, and attached to interfaces:
//
//	s, err := bpf.NewSteer(bpf.SteerConfig{Mark: 0x5347, Rules: rules})
//	err = s.SetListeners(listeners...)
//	err = s.Attach("eth0", bpf.TowardsClients)
//	err = s.AttachOthers()
//
// At an interface's ingress the program looks up the socket that a TCP packet belongs to by its
// addresses and ports, whichever they are: the box's socket towards the client has the server's
// address, the one towards the server has the client's. A packet that has a socket is kept in the box,
// where IP finds the socket again. A SYN that has none is handed to a listener (bpf_sk_assign) if the rules
// say so, any other packet goes on. ICMP errors that quote a packet of the box's connections are kept in the
// box, too.
//
// What the caller must see to:
//
//   - The listeners and the dialled sockets have IP_TRANSPARENT set before they are bound. Multipath TCP
//     is off: net.ListenConfig.SetMultipathTCP(false).
//   - A packet comes to its socket only if IP delivers it to the local host, and IP routes by the
//     destination. So packets for the box carry SteerConfig.Mark, and the caller keeps a rule and a route,
//     before it attaches and until it has closed: "ip rule add fwmark MARK lookup TABLE" and "ip route add
//     local default dev lo table TABLE", for both families. Without them the kernel drops these packets, as
//     it forwards none that have a socket, or that it finds one for before it routes
//     (net.ipv4.tcp_early_demux, which is on unless it was turned off).
//   - That rule is not for what the host sends, nor for the look-up of the way back by which it checks
//     source addresses, both of which come "from lo"; or else net.ipv4.tcp_fwmark_accept and
//     net.ipv4.conf.*.src_valid_mark are off.
//   - The host's own packet filter sees the packets in its input chains, not in those for forwarding.
//
// A packet in fragments is judged by the first of them. Where it would be handed over all are marked, so
// that the kernel puts them together in the box and finds the socket then; a program of the type
// sk_lookup, tied to the network namespace, names the listener if it is a SYN, and also if a SYN was
// handed to a socket in TIME_WAIT. That program answers for these connections only. A fragment that
// comes before its first one goes on.
//
// Packets that are not for the box's link-layer address go on; so do those to addresses of the box
// itself, which a Steer keeps itself informed of, and which the program looks up in the kernel's own
// routes before it takes a new connection.
//
// The links to interfaces are TCX where the kernel has it (Linux 6.6), and a clsact filter elsewhere.
// A TCX link ends with its process, however it ends, unless it is pinned; then, and with clsact, the
// program stays. Without listeners a program that stays lets new connections pass, or, with
// SteerConfig.DropWithoutListener, drops what it would steer; listeners leave it by themselves when
// they are closed. The next Steer of the same instance takes over without a gap. RemoveSteering cleans
// up.
//
// On kernels before Linux 6.6 sockets with SO_REUSEPORT cannot be assigned; SetListeners clears the
// option there, so it must be called when all listeners are bound.
//
// # Shunting
//
// A Shunt is attached to packet sockets in the place of their filter, and told which flows to drop:
//
//	s, err := bpf.NewShunt(1 << 16)
//	err = s.Attach(fd)
//	err = s.Add(client, server)
//
// Both directions of the flow are dropped from then on and counted. A SYN on the same addresses ends
// that and goes to the reader, as does a packet that comes after the flow was idle for too long. The
// table is bounded: the flow that was quiet for longest makes way.
package bpf
