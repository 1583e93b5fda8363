// SPDX-License-Identifier: Apache-2.0

// Package filter compiles capture filters in the syntax of pcap-filter(7) to classic BPF. It knows
// expressions and where headers are, and neither sockets nor packets.
//
// What is understood: host, net, port and portrange, with src and dst; tcp, udp, sctp, icmp, icmp6,
// igmp, esp, ah, ip, ip6, arp and rarp, alone or before these; proto; ether host and ether proto;
// broadcast and multicast; less, greater and len; vlan; comparisons of packet bytes such as
// tcp[tcpflags] & tcp-syn != 0; and, or, not and parentheses. Names of hosts are not resolved.
//
// Linux takes the outermost VLAN tag out of a packet and hands it over beside it, or leaves it in,
// depending on where the packet comes from. "vlan" means either: what has to hold together with it,
// and follows it, is looked for behind a tag that is still in the packet, and at the usual place if
// it is not. Unlike in libpcap, it has no effect on its alternatives: "vlan 1 or vlan 2" is either.
package filter
