// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

//go:build ignore

/*
 * Steering: hands TCP packets that are on their way through the box to sockets of the box.
 *
 * What belongs to a connection that the box has is found by its addresses and ports, in either
 * direction. A connection that begins goes to one of the listeners if the rules say so. Everything
 * else goes on as if this program were not there. A packet for the box carries a mark, for the rule
 * that routes it to the local host: IP forwards nothing that has a socket.
 */

#define PULL 256

#include "headers/packet.h"
#include "headers/state.h"

char _license[] SEC("license") = "Dual BSD/GPL";

enum decision { STEER, EXCLUDED, UNMATCHED };

struct verdict {
	enum decision decision;
	__u32 client_rule;
	__u32 server_rule;
};

static __always_inline void count(struct __sk_buff *skb, enum total which)
{
	__u32 key = which;
	struct count *c = bpf_map_lookup_elem(&totals, &key);

	if (!c)
		return;
	c->packets++;
	c->bytes += skb->len;
}

static __always_inline void count_rule(__u32 number)
{
	__u64 *n;

	if (!number)
		return;
	n = bpf_map_lookup_elem(&rule_counts, &number);
	if (n)
		(*n)++;
}

static __always_inline void *current_rules(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&rules, &zero);
}

static __always_inline struct rule *find_network_rule(void *trie, __u32 table, const __be32 *address,
						      __u32 family)
{
	struct rule_key key = { .table = table };

	__builtin_memcpy(key.data, address, sizeof(key.data));
	key.prefixlen = family == AF_INET ? 32 + 32 : 32 + 128;
	return bpf_map_lookup_elem(trie, &key);
}

static __always_inline int has_port(void *trie, const struct rule *r, __be16 port)
{
	struct rule_key key = { .table = TABLE_PORTS, .prefixlen = 32 + 32 + 16 };

	if (r->flags & RULE_ANY_PORT)
		return 1;
	__builtin_memcpy(key.data, &r->number, sizeof(r->number));
	__builtin_memcpy(key.data + sizeof(r->number), &port, sizeof(port));
	return bpf_map_lookup_elem(trie, &key) != 0;
}

static __always_inline int is_own(void *trie, const struct flow *f)
{
	__u32 table = f->family == AF_INET ? TABLE_OWN4 : TABLE_OWN6;

	return find_network_rule(trie, table, f->server, f->family) != 0;
}

/* decide says what the rules say of a connection that begins. */
static __noinline void decide(void *trie, const struct flow *f, struct verdict *v)
{
	__u32 clients = f->family == AF_INET ? TABLE_CLIENTS4 : TABLE_CLIENTS6;
	__u32 servers = f->family == AF_INET ? TABLE_SERVERS4 : TABLE_SERVERS6;
	struct rule *client, *server;

	v->decision = UNMATCHED;
	v->client_rule = v->server_rule = 0;
	server = find_network_rule(trie, servers, f->server, f->family);
	if (!server || !has_port(trie, server, f->server_port))
		return;
	client = find_network_rule(trie, clients, f->client, f->family);
	if (!client)
		return;
	if (client->flags & RULE_EXCLUDE) {
		v->decision = EXCLUDED;
		v->client_rule = client->number;
		return;
	}
	v->server_rule = server->number;
	if (server->flags & RULE_EXCLUDE) {
		v->decision = EXCLUDED;
		return;
	}
	v->client_rule = client->number;
	v->decision = STEER;
}

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9E3779B1;
	return hash ^ hash >> 15;
}

/* pick_listener spreads connections over the listeners: all packets of one go to the same. */
static __noinline struct bpf_sock *pick_listener(const struct flow *f)
{
	__u32 n = f->family == AF_INET ? listeners_ipv4 : listeners_ipv6;
	__u32 base = f->family == AF_INET ? 0 : MAX_LISTENERS;
	__u32 hash = hash_seed, slot, i;
	struct bpf_sock *sk;

	for (i = 0; i < 4; i++)
		hash = mix(mix(hash, f->client[i]), f->server[i]);
	hash = mix(hash, (__u32)f->client_port << 16 | f->server_port);
	/* The next one steps in for one that is closed. */
	for (i = 0; i < MAX_LISTENERS && i < n; i++) {
		slot = base + (hash + i) % n;
		sk = bpf_map_lookup_elem(&listeners, &slot);
		if (sk)
			return sk;
	}
	return 0;
}

static __always_inline void flow_of(const struct packet *p, struct flow *f)
{
	__builtin_memset(f, 0, sizeof(*f));
	f->family = p->family;
	if (p->family == AF_INET) {
		f->client[0] = p->ip.v4.source;
		f->server[0] = p->ip.v4.destination;
	} else {
		__builtin_memcpy(f->client, p->ip.v6.source, sizeof(f->client));
		__builtin_memcpy(f->server, p->ip.v6.destination, sizeof(f->server));
	}
	f->client_port = p->tcp.source;
	f->server_port = p->tcp.destination;
}

/*
 * find_socket returns the socket of the box that a packet from client to server belongs to, with a
 * reference; it may be one in the making or in TIME_WAIT.
 */
static __always_inline struct bpf_sock *find_socket(struct __sk_buff *skb, const struct flow *f)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	__u32 size;

	if (f->family == AF_INET) {
		tuple.ipv4.saddr = f->client[0];
		tuple.ipv4.daddr = f->server[0];
		tuple.ipv4.sport = f->client_port;
		tuple.ipv4.dport = f->server_port;
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, f->client, sizeof(f->client));
		__builtin_memcpy(tuple.ipv6.daddr, f->server, sizeof(f->server));
		tuple.ipv6.sport = f->client_port;
		tuple.ipv6.dport = f->server_port;
		size = sizeof(tuple.ipv6);
	}
	sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	/* Any listener on that port, ssh on all addresses say: it is not for this connection. */
	if (sk->state == BPF_TCP_LISTEN) {
		bpf_sk_release(sk);
		return 0;
	}
	return sk;
}

static __always_inline void set_mark(struct __sk_buff *skb)
{
	skb->mark = (skb->mark & ~mark_mask) | mark;
}

/* deliver has IP deliver the packet to the box. */
static __always_inline int deliver(struct __sk_buff *skb, enum total which)
{
	set_mark(skb);
	count(skb, which);
	return TC_ACT_UNSPEC;
}

/* hand_over gives the packet to a socket that IP would not find, and the reference back. */
static __always_inline int hand_over(struct __sk_buff *skb, struct bpf_sock *sk, enum total which,
				     int otherwise)
{
	long err = bpf_sk_assign(skb, sk, 0);

	bpf_sk_release(sk);
	if (err) {
		count(skb, TOTAL_FAILED);
		return otherwise;
	}
	return deliver(skb, which);
}

/*
 * is_unroutable asks whether the destination is one that the box does not forward to: an address of
 * its own that user space has not told of yet, a broadcast, or nowhere. Where the interface does not
 * forward at all there is no answer.
 */
static __noinline int is_unroutable(struct __sk_buff *skb, const struct flow *f)
{
	struct bpf_fib_lookup fib = {
		.family = f->family,
		.l4_protocol = IPPROTO_TCP,
		.sport = f->client_port,
		.dport = f->server_port,
		.ifindex = skb->ifindex,
	};
	long result;

	__builtin_memcpy(fib.src, f->client, sizeof(fib.src));
	__builtin_memcpy(fib.dst, f->server, sizeof(fib.dst));
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return result >= BPF_FIB_LKUP_RET_BLACKHOLE && result <= BPF_FIB_LKUP_RET_NOT_FWDED;
}

/*
 * steer_new judges a SYN. A socket in TIME_WAIT that had the same addresses takes it and lets it go to
 * the listener that steer_listener names: one given a listener outright would have to wait for it.
 */
static __always_inline int steer_new(struct __sk_buff *skb, const struct flow *f, void *trie,
				     struct bpf_sock *time_wait)
{
	int otherwise = drop_without_listener ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	enum total passed = TOTAL_UNMATCHED;
	struct bpf_sock *sk;
	struct verdict v;
	__u32 one = 1;

	decide(trie, f, &v);
	if (v.decision == STEER && is_unroutable(skb, f)) {
		passed = TOTAL_OWN;
		goto pass;
	}
	count_rule(v.client_rule);
	count_rule(v.server_rule);
	if (v.decision != STEER) {
		if (v.decision == EXCLUDED)
			passed = TOTAL_EXCLUDED;
		goto pass;
	}
	if (time_wait) {
		bpf_map_update_elem(&awaited, f, &one, 0);
		return hand_over(skb, time_wait, TOTAL_NEW, otherwise);
	}
	sk = pick_listener(f);
	if (!sk) {
		count(skb, TOTAL_NO_LISTENER);
		return otherwise;
	}
	return hand_over(skb, sk, TOTAL_NEW, otherwise);
pass:
	if (time_wait)
		bpf_sk_release(time_wait);
	count(skb, passed);
	return TC_ACT_UNSPEC;
}

/* is_cookie says whether the packet brings back a cookie that the listener has given out. */
static __always_inline int is_cookie(struct packet *p, struct bpf_sock *listener)
{
	__u32 header = p->family == AF_INET ? sizeof(p->ip.v4) : sizeof(p->ip.v6);

	if ((p->tcp.flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK)
		return 0;
	return !bpf_tcp_check_syncookie(listener, &p->ip, header, &p->tcp, sizeof(p->tcp));
}

/*
 * steer_midstream judges a packet of a connection that the box does not have. A listener under a flood
 * may keep it as a cookie, which this packet brings back. Else it began before the box did, and goes
 * on; or, where nothing may pass the box, is reset by the listener, which knows nothing of it.
 */
static __always_inline int steer_midstream(struct __sk_buff *skb, struct packet *p,
					   const struct flow *f, void *trie)
{
	struct bpf_sock *sk;
	struct verdict v;

	decide(trie, f, &v);
	if (v.decision != STEER)
		goto pass;
	sk = pick_listener(f);
	if (!sk && drop_without_listener) {
		count(skb, TOTAL_NO_LISTENER);
		return TC_ACT_SHOT;
	}
	if (!sk)
		goto pass;
	if (is_cookie(p, sk))
		return hand_over(skb, sk, TOTAL_COOKIE, TC_ACT_UNSPEC);
	if (drop_without_listener)
		return hand_over(skb, sk, TOTAL_RESET, TC_ACT_SHOT);
	bpf_sk_release(sk);
pass:
	count(skb, TOTAL_MIDSTREAM);
	return TC_ACT_UNSPEC;
}

static __always_inline int is_syn(const struct packet *p)
{
	return (p->tcp.flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

static __always_inline int steer_tcp(struct __sk_buff *skb, struct packet *p, int takes_new)
{
	void *trie = current_rules();
	struct bpf_sock *sk;
	struct flow f;
	int begins;

	if (!trie)
		return TC_ACT_UNSPEC;
	if (parse_tcp(skb, p) != PARSED) {
		count(skb, TOTAL_MALFORMED);
		return TC_ACT_UNSPEC;
	}
	flow_of(p, &f);
	if (is_own(trie, &f)) {
		count(skb, TOTAL_OWN);
		return TC_ACT_UNSPEC;
	}
	begins = is_syn(p);
	sk = find_socket(skb, &f);
	if (sk) {
		if (takes_new && begins && sk->state == BPF_TCP_TIME_WAIT)
			return steer_new(skb, &f, trie, sk);
		/*
		 * IP finds the socket itself, and with it the route that was taken before (early demux). For a
		 * packet that has its socket already it would look up the route anew.
		 */
		bpf_sk_release(sk);
		return deliver(skb, TOTAL_ESTABLISHED);
	}
	if (takes_new && begins)
		return steer_new(skb, &f, trie, 0);
	if (takes_new)
		return steer_midstream(skb, p, &f, trie);
	count(skb, begins ? TOTAL_UNMATCHED : TOTAL_MIDSTREAM);
	return TC_ACT_UNSPEC;
}

/* is_icmp_error tells the messages that quote the packet they are about. */
static __always_inline int is_icmp_error(__u32 family, __u8 type)
{
	if (family == AF_INET)
		return type == 3 || type == 11 || type == 12; /* RFC 792 */
	return type >= 1 && type <= 4; /* RFC 4443, Section 2.1 */
}

/*
 * steer_icmp keeps errors about the box's connections in the box, although they are addressed to the
 * peer whose address the box uses: without them no path MTU is ever found. The kernel finds the socket
 * by the quoted packet; the mark is enough.
 */
static __always_inline int steer_icmp(struct __sk_buff *skb, struct packet *p)
{
	struct flow quoted, f;
	struct bpf_sock *sk;
	__u32 family = p->family;
	__u8 icmp[8];

	if (load(skb, &p->at, icmp, sizeof(icmp)) || !is_icmp_error(family, icmp[0]))
		return TC_ACT_UNSPEC;
	p->at.offset += sizeof(icmp);
	if ((family == AF_INET ? parse_ipv4(skb, p) : parse_ipv6(skb, p)) != PARSED)
		return TC_ACT_UNSPEC;
	/* Eight bytes of it are all that must be quoted (RFC 792). */
	if (p->protocol != IPPROTO_TCP || load(skb, &p->at, &p->tcp, 8))
		return TC_ACT_UNSPEC;
	flow_of(p, &quoted);
	/* What the box sent is quoted; the socket is found by what comes to it. */
	f = quoted;
	__builtin_memcpy(f.client, quoted.server, sizeof(f.client));
	__builtin_memcpy(f.server, quoted.client, sizeof(f.server));
	f.client_port = quoted.server_port;
	f.server_port = quoted.client_port;
	sk = find_socket(skb, &f);
	if (!sk)
		return TC_ACT_UNSPEC;
	bpf_sk_release(sk);
	return deliver(skb, TOTAL_ICMP);
}

static __always_inline void fragments_of(const struct packet *p, struct fragments *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->id = p->fragment_id;
	key->protocol = p->fragment_protocol;
	key->family = p->family;
	if (p->family == AF_INET) {
		key->source[0] = p->ip.v4.source;
		key->destination[0] = p->ip.v4.destination;
	} else {
		__builtin_memcpy(key->source, p->ip.v6.source, sizeof(key->source));
		__builtin_memcpy(key->destination, p->ip.v6.destination, sizeof(key->destination));
	}
}

enum fate { FATE_KEEP, FATE_PASS, FATE_DROP };

/*
 * judge_fragment decides for the first fragment, by what of the TCP header is in it, as steer_tcp does
 * for whole packets.
 */
static __always_inline enum fate judge_fragment(struct __sk_buff *skb, const struct flow *f, void *trie,
						int begins)
{
	struct bpf_sock *sk;
	struct verdict v;

	decide(trie, f, &v);
	if (v.decision != STEER || (!begins && !drop_without_listener) || is_unroutable(skb, f))
		return FATE_PASS;
	sk = pick_listener(f);
	if (!sk)
		return drop_without_listener ? FATE_DROP : FATE_PASS;
	bpf_sk_release(sk);
	if (begins) {
		count_rule(v.client_rule);
		count_rule(v.server_rule);
	}
	return FATE_KEEP;
}

/*
 * steer_first judges the first fragment of a packet. The kernel puts the fragments together when all
 * are delivered to the box, so the mark is enough, and finds the socket then.
 */
static __always_inline int steer_first(struct __sk_buff *skb, struct packet *p, int takes_new)
{
	void *trie = current_rules();
	enum fate fate = FATE_PASS;
	struct fragments key;
	struct bpf_sock *sk;
	__u32 one = 1;
	struct flow f;
	int begins;

	if (!trie)
		return TC_ACT_UNSPEC;
	/* As much as any fragment but the last has; it may be all there is. */
	begins = parse_tcp(skb, p) != PARSED || is_syn(p);
	if (begins && load(skb, &p->at, &p->tcp, 8)) {
		count(skb, TOTAL_MALFORMED);
		return TC_ACT_UNSPEC;
	}
	flow_of(p, &f);
	if (is_own(trie, &f)) {
		count(skb, TOTAL_OWN);
		return TC_ACT_UNSPEC;
	}
	sk = find_socket(skb, &f);
	if (sk) {
		bpf_sk_release(sk);
		fate = FATE_KEEP;
	} else if (takes_new) {
		fate = judge_fragment(skb, &f, trie, begins);
	}
	fragments_of(p, &key);
	if (fate != FATE_KEEP) {
		/* Of another packet that had the same identification. */
		bpf_map_delete_elem(&kept, &key);
		count(skb, fate == FATE_DROP ? TOTAL_NO_LISTENER : TOTAL_FRAGMENT);
		return fate == FATE_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	}
	if (takes_new)
		bpf_map_update_elem(&awaited, &f, &one, 0);
	bpf_map_update_elem(&kept, &key, &one, 0);
	return deliver(skb, TOTAL_REASSEMBLED);
}

/* steer_later sends the other fragments where the first one went. */
static __always_inline int steer_later(struct __sk_buff *skb, struct packet *p)
{
	struct fragments key;

	fragments_of(p, &key);
	if (bpf_map_lookup_elem(&kept, &key))
		return deliver(skb, TOTAL_REASSEMBLED);
	if (p->protocol == IPPROTO_TCP)
		count(skb, TOTAL_FRAGMENT);
	return TC_ACT_UNSPEC;
}

static __always_inline int steer(struct __sk_buff *skb, int takes_new)
{
	struct packet p = {};

	/* What is for another host is only seen because the interface is promiscuous. */
	if (skb->pkt_type != PACKET_HOST)
		return TC_ACT_UNSPEC;
	switch (parse_network(skb, &p)) {
	case PARSED:
		break;
	case PARSED_FRAGMENT:
		return steer_later(skb, &p);
	case PARSED_MALFORMED:
		count(skb, TOTAL_MALFORMED);
		return TC_ACT_UNSPEC;
	default:
		return TC_ACT_UNSPEC;
	}
	if (p.protocol == IPPROTO_TCP)
		return p.fragment ? steer_first(skb, &p, takes_new) : steer_tcp(skb, &p, takes_new);
	if (!p.fragment && p.protocol == (p.family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return steer_icmp(skb, &p);
	return TC_ACT_UNSPEC;
}

/* Towards clients: takes connections that begin, too. */
SEC("tc")
int steer_client(struct __sk_buff *skb)
{
	return steer(skb, 1);
}

/* Towards servers: takes only what belongs to connections that the box has. */
SEC("tc")
int steer_server(struct __sk_buff *skb)
{
	return steer(skb, 0);
}

/* Volatile, or the compiler computes the addresses of fields, which the verifier refuses. */
static __always_inline void flow_of_lookup(const volatile struct bpf_sk_lookup *ctx, struct flow *f)
{
	f->family = ctx->family;
	if (f->family == AF_INET) {
		f->client[0] = ctx->remote_ip4;
		f->server[0] = ctx->local_ip4;
	} else {
		f->client[0] = ctx->remote_ip6[0];
		f->client[1] = ctx->remote_ip6[1];
		f->client[2] = ctx->remote_ip6[2];
		f->client[3] = ctx->remote_ip6[3];
		f->server[0] = ctx->local_ip6[0];
		f->server[1] = ctx->local_ip6[1];
		f->server[2] = ctx->local_ip6[2];
		f->server[3] = ctx->local_ip6[3];
	}
	f->client_port = ctx->remote_port;
	f->server_port = bpf_htons(ctx->local_port);
}

/* steer_listener answers the kernel's search for a listener for what is awaited, and for nothing else. */
SEC("sk_lookup")
int steer_listener(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sk;
	struct flow f = {};

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	flow_of_lookup(ctx, &f);
	if (!bpf_map_lookup_elem(&awaited, &f))
		return SK_PASS;
	sk = pick_listener(&f);
	if (!sk)
		return SK_PASS;
	bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return SK_PASS;
}
