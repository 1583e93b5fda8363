// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

//go:build ignore

/*
 * Shunting: a socket filter that drops what belongs to flows that have been judged, in both
 * directions, so that a packet socket's reader never wakes for them.
 */

#include "headers/packet.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* Set before loading. */
const volatile __u32 snap_length; /* how much of an accepted packet the reader gets */
const volatile __u64 idle_limit; /* nanoseconds */
const volatile __u32 pass_ends; /* FIN and RST go to the reader */

/* A connection, whichever way its packets go: the lower end first, as numbers. */
struct shunt_key {
	__be32 low[4]; /* of an IPv4 address the first word */
	__be32 high[4];
	__be16 low_port;
	__be16 high_port;
	__u32 family;
};

struct shunt_flow {
	__u64 last; /* on the monotonic clock, nanoseconds */
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16); /* as the loader is told */
	__type(key, struct shunt_key);
	__type(value, struct shunt_flow);
} flows SEC(".maps");

enum shunt_total {
	TOTAL_SHUNTED,
	TOTAL_RESTARTED, /* flows that a SYN took out */
	TOTAL_EXPIRED, /* flows that came back after the idle limit */
	TOTALS,
};

struct shunt_count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TOTALS);
	__type(key, __u32);
	__type(value, struct shunt_count);
} totals SEC(".maps");

static __always_inline void count(struct __sk_buff *skb, enum shunt_total which)
{
	__u32 key = which;
	struct shunt_count *c = bpf_map_lookup_elem(&totals, &key);

	if (!c)
		return;
	c->packets++;
	c->bytes += skb->len;
}

/* is_lower says whether the source is the lower end. */
static __always_inline int is_lower(const __be32 *source, const __be32 *destination,
				    const struct tcp *tcp)
{
	int i;

	for (i = 0; i < 4; i++) {
		__u32 s = bpf_ntohl(source[i]), d = bpf_ntohl(destination[i]);

		if (s != d)
			return s < d;
	}
	return bpf_ntohs(tcp->source) <= bpf_ntohs(tcp->destination);
}

static __always_inline void key_of(const struct packet *p, struct shunt_key *key)
{
	__be32 source[4] = {}, destination[4] = {};
	int lower;

	if (p->family == AF_INET) {
		source[0] = p->ip.v4.source;
		destination[0] = p->ip.v4.destination;
	} else {
		__builtin_memcpy(source, p->ip.v6.source, sizeof(source));
		__builtin_memcpy(destination, p->ip.v6.destination, sizeof(destination));
	}
	lower = is_lower(source, destination, &p->tcp);
	__builtin_memcpy(key->low, lower ? source : destination, sizeof(key->low));
	__builtin_memcpy(key->high, lower ? destination : source, sizeof(key->high));
	key->low_port = lower ? p->tcp.source : p->tcp.destination;
	key->high_port = lower ? p->tcp.destination : p->tcp.source;
	key->family = p->family;
}

SEC("socket")
int shunt(struct __sk_buff *skb)
{
	struct shunt_key key;
	struct packet p = {};
	struct shunt_flow *flow;
	__u64 now;

	/* The reader gets all fragments of a packet, or could put none together. */
	if (parse_network(skb, &p) != PARSED || p.fragment || p.protocol != IPPROTO_TCP ||
	    parse_tcp(skb, &p) != PARSED)
		return snap_length;
	key_of(&p, &key);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		return snap_length;
	/* The same addresses begin anew; so does an entry too old to be of the same connection. */
	now = bpf_ktime_get_ns();
	if (p.tcp.flags & TCP_SYN) {
		if (!bpf_map_delete_elem(&flows, &key))
			count(skb, TOTAL_RESTARTED);
		return snap_length;
	}
	if (now > flow->last && now - flow->last > idle_limit) {
		if (!bpf_map_delete_elem(&flows, &key))
			count(skb, TOTAL_EXPIRED);
		return snap_length;
	}
	flow->last = now;
	if (pass_ends && p.tcp.flags & (TCP_FIN | TCP_RST))
		return snap_length;
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, skb->len);
	count(skb, TOTAL_SHUNTED);
	return 0;
}
