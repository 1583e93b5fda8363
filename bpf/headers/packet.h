/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * From a frame to its TCP header: VLAN tags, IPv4 with options, IPv6 with extension headers.
 *
 * Headers are copied out and never touched in place, relative to the network header, which is right
 * for interfaces with a link-layer header and for those without. Every loop is bounded; a frame that
 * goes beyond the bounds is none of ours.
 */
#pragma once

#include "kernel.h"

#define ETH_HLEN 14

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8

#define IPPROTO_HOPOPTS 0
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_AH 51
#define IPPROTO_ICMPV6 58
#define IPPROTO_DSTOPTS 60

/* Tags inside the frame; a NIC may have taken one more off. */
#define MAX_VLAN_TAGS 2
/* RFC 8200, Section 4.1 recommends an order in which seven occur. */
#define MAX_EXTENSIONS 7

#define IPV4_MORE 0x2000
#define IPV4_OFFSET 0x1FFF
#define IPV6_MORE 0x0001
#define IPV6_OFFSET 0xFFF8

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct vlan_tag {
	__be16 tci;
	__be16 protocol;
};

struct ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6 {
	__be32 version_class_flow;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};

struct extension {
	__u8 next_header;
	__u8 length; /* of the rest, in units of 8 bytes; of 4, less 2, in an authentication header */
	__be16 fragment; /* in a routing header: its type and the segments left */
};

struct tcp {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgment;
	__u8 offset;
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

/* Where in the frame the next header begins: so many bytes after the link or network header. */
struct cursor {
	__u32 base;
	__u32 offset;
};

struct packet {
	union {
		struct ipv4 v4;
		struct ipv6 v6;
	} ip;
	struct tcp tcp;
	struct cursor at; /* where the header after the IP headers begins */
	__u8 family;
	__u8 protocol;
	__u8 fragment; /* the first of several */
	__u8 fragment_protocol; /* this and the identification tell whose fragments they are */
	__u32 fragment_id;
};

enum parsed {
	PARSED, /* the headers of IP, and protocol, are known */
	PARSED_OTHER, /* nothing that is of interest here */
	PARSED_FRAGMENT, /* not the first: what comes after the IP headers is not here */
	PARSED_MALFORMED, /* cut short, or at odds with itself */
};

/*
 * load copies bytes from the cursor on. The kernel reads them from the linear part of the frame only.
 * Where it has left the headers elsewhere, a tc program, which defines PULL, pulls so much into it and
 * tries again; a socket filter cannot, but finds them by counting from the beginning of the frame.
 */
static __always_inline long load(struct __sk_buff *skb, const struct cursor *at, void *to, __u32 len)
{
	long err = bpf_skb_load_bytes_relative(skb, at->offset, to, len, at->base);
#ifdef PULL

	if (!err)
		return 0;
	bpf_skb_pull_data(skb, skb->len < PULL ? skb->len : PULL);
	return bpf_skb_load_bytes_relative(skb, at->offset, to, len, at->base);
#else
	__u32 offset = at->offset;
	__be16 type;

	if (!err)
		return 0;
	if (at->base == BPF_HDR_START_NET) {
		/* The frame begins with an Ethernet header, if at all. */
		if (bpf_skb_load_bytes(skb, ETH_HLEN - sizeof(type), &type, sizeof(type)) ||
		    type != (__be16)skb->protocol)
			return err;
		offset += ETH_HLEN;
	}
	return bpf_skb_load_bytes(skb, offset, to, len);
#endif
}

static __always_inline int is_vlan(__u16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/*
 * find_network sets the cursor to the IP header and returns its EtherType, zero if there is none.
 * Behind tags that are inside the frame it counts from the link layer: the kernel sets the network
 * header before them on the way in and behind them on the way out.
 */
static __always_inline __u16 find_network(struct __sk_buff *skb, struct cursor *at)
{
	__u16 protocol = skb->protocol;
	struct vlan_tag tag;
	int i;

	at->base = BPF_HDR_START_NET;
	at->offset = 0;
	if (!is_vlan(protocol))
		return protocol;
	at->base = BPF_HDR_START_MAC;
	at->offset = ETH_HLEN;
#pragma clang loop unroll(full)
	for (i = 0; i < MAX_VLAN_TAGS && is_vlan(protocol); i++) {
		if (load(skb, at, &tag, sizeof(tag)))
			return 0;
		at->offset += sizeof(tag);
		protocol = tag.protocol;
	}
	return protocol;
}

static __always_inline enum parsed parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	__u32 header, total;

	if (load(skb, &p->at, &p->ip.v4, sizeof(p->ip.v4)))
		return PARSED_MALFORMED;
	header = (p->ip.v4.version_ihl & 0xF) * 4;
	if (p->ip.v4.version_ihl >> 4 != 4 || header < sizeof(p->ip.v4))
		return PARSED_MALFORMED;
	p->family = AF_INET;
	p->protocol = p->ip.v4.protocol;
	p->fragment_protocol = p->protocol;
	p->fragment_id = p->ip.v4.id;
	if (p->ip.v4.fragment & bpf_htons(IPV4_OFFSET))
		return PARSED_FRAGMENT;
	p->fragment = (p->ip.v4.fragment & bpf_htons(IPV4_MORE)) != 0;
	/* Zero is the length of a merged segment of more than 64 KiB. */
	total = bpf_ntohs(p->ip.v4.total_length);
	if (total && total < header)
		return PARSED_MALFORMED;
	p->at.offset += header;
	return PARSED;
}

static __always_inline int is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_DSTOPTS;
}

/* parse_fragment reads what comes after the first four bytes of a fragment header. */
static __always_inline enum parsed parse_fragment(struct __sk_buff *skb, struct packet *p,
						  const struct extension *e)
{
	p->at.offset += sizeof(*e);
	if (load(skb, &p->at, &p->fragment_id, sizeof(p->fragment_id)))
		return PARSED_MALFORMED;
	p->at.offset += sizeof(p->fragment_id);
	p->fragment_protocol = p->protocol = e->next_header;
	if (e->fragment & bpf_htons(IPV6_OFFSET))
		return PARSED_FRAGMENT;
	/* A whole packet may carry this header, too (RFC 8200, Section 4.5; RFC 6946). */
	p->fragment = (e->fragment & bpf_htons(IPV6_MORE)) != 0;
	return PARSED;
}

/* parse_extension steps over one extension header. */
static __always_inline enum parsed parse_extension(struct __sk_buff *skb, struct packet *p)
{
	struct extension e;

	if (load(skb, &p->at, &e, sizeof(e)))
		return PARSED_MALFORMED;
	switch (p->protocol) {
	case IPPROTO_FRAGMENT:
		return parse_fragment(skb, p, &e);
	case IPPROTO_AH:
		p->at.offset += (e.length + 2) * 4;
		break;
	case IPPROTO_ROUTING:
		/* With segments left the destination is not the last one. */
		if (bpf_ntohs(e.fragment) & 0xFF)
			return PARSED_OTHER;
		/* fall through */
	default:
		p->at.offset += (e.length + 1) * 8;
	}
	p->protocol = e.next_header;
	return PARSED;
}

static __always_inline enum parsed parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	enum parsed result;
	int i;

	if (load(skb, &p->at, &p->ip.v6, sizeof(p->ip.v6)))
		return PARSED_MALFORMED;
	if ((p->ip.v6.version_class_flow & bpf_htonl(0xF0000000)) != bpf_htonl(0x60000000))
		return PARSED_MALFORMED;
	p->family = AF_INET6;
	p->protocol = p->ip.v6.next_header;
	p->at.offset += sizeof(p->ip.v6);
	/* A loop would do, but not for the verifier when it looks at speculative execution as well. */
#pragma clang loop unroll(full)
	for (i = 0; i < MAX_EXTENSIONS && is_extension(p->protocol); i++) {
		result = parse_extension(skb, p);
		if (result != PARSED)
			return result;
	}
	return PARSED;
}

/* parse_network finds and reads the IP headers of a frame. */
static __always_inline enum parsed parse_network(struct __sk_buff *skb, struct packet *p)
{
	__u16 protocol = find_network(skb, &p->at);

	if (protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(skb, p);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(skb, p);
	return PARSED_OTHER;
}

/* parse_tcp reads the TCP header, after parse_network. */
static __always_inline enum parsed parse_tcp(struct __sk_buff *skb, struct packet *p)
{
	if (load(skb, &p->at, &p->tcp, sizeof(p->tcp)))
		return PARSED_MALFORMED;
	if (p->tcp.offset >> 4 < sizeof(p->tcp) / 4)
		return PARSED_MALFORMED;
	return PARSED;
}
