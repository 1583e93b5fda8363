/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* What steering is told and what it keeps: settings, listeners, rules and counters. */
#pragma once

#include "kernel.h"

#define MAX_LISTENERS 64 /* of each family */
#define MAX_RULES 16384
#define MAX_ENTRIES (1 << 20)

/* Set before loading. */
const volatile __u32 mark;
const volatile __u32 mark_mask;
const volatile __u32 hash_seed;
const volatile __u32 drop_without_listener;

/* How many of the listeners' slots are in use. */
volatile __u32 listeners_ipv4;
volatile __u32 listeners_ipv6;

/* IPv4 from slot 0 on, IPv6 from MAX_LISTENERS on. A listener that is closed leaves by itself. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2 * MAX_LISTENERS);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

/*
 * One trie is one generation of the rules, whole: what is looked up by longest prefix is told apart
 * by the table that stands before it. So a change is one write to `rules`, and no packet ever sees
 * half of it.
 */
enum {
	TABLE_OWN4 = 1, /* addresses of the box */
	TABLE_OWN6,
	TABLE_SERVERS4, /* rules by destination */
	TABLE_SERVERS6,
	TABLE_CLIENTS4, /* rules by source */
	TABLE_CLIENTS6,
	TABLE_PORTS, /* of a rule: its number, then the port in network byte order */
};

struct rule_key {
	__u32 prefixlen; /* bits, those of the table counted */
	__u32 table;
	__u8 data[16];
};

#define RULE_EXCLUDE 1
#define RULE_ANY_PORT 2

struct rule {
	__u32 number; /* zero: not counted */
	__u32 flags;
};

struct rule_trie {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_ENTRIES);
	__uint(key_size, sizeof(struct rule_key));
	__uint(value_size, sizeof(struct rule));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct rule_trie);
} rules SEC(".maps");

/* New connections that a rule decided, by its number. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_RULES);
	__type(key, __u32);
	__type(value, __u64);
} rule_counts SEC(".maps");

enum total {
	TOTAL_ESTABLISHED,
	TOTAL_NEW,
	TOTAL_COOKIE,
	TOTAL_ICMP,
	TOTAL_OWN,
	TOTAL_EXCLUDED,
	TOTAL_UNMATCHED,
	TOTAL_MIDSTREAM,
	TOTAL_NO_LISTENER,
	TOTAL_FRAGMENT,
	TOTAL_MALFORMED,
	TOTAL_FAILED,
	TOTAL_RESET,
	TOTAL_REASSEMBLED,
	TOTALS,
};

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TOTALS);
	__type(key, __u32);
	__type(value, struct count);
} totals SEC(".maps");

/* The ends of a connection, in network byte order; of IPv4 addresses the first word. */
struct flow {
	__be32 client[4];
	__be32 server[4];
	__be16 client_port;
	__be16 server_port;
	__u32 family;
};

/*
 * Connections for which the kernel is to look for a listener itself: those whose SYN was given to a
 * socket in TIME_WAIT, which makes way, and those whose SYN comes in fragments. An entry that is left
 * over does no harm: only packets that were marked here get to where a listener is looked for.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, __u32);
} awaited SEC(".maps");

/* Packets whose first fragment was kept in the box. */
struct fragments {
	__be32 source[4];
	__be32 destination[4];
	__u32 id;
	__u16 family;
	__u16 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragments);
	__type(value, __u32);
} kept SEC(".maps");
