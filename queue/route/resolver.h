/* SPDX-License-Identifier: ISC */
/*
 * queue/route/resolver.h - record sets from DNS, never kept past their TTL
 *
 * The only cache. A set expires at query-sent time plus the smallest TTL of
 * its records and of every CNAME passed; caps, no floor; TTL 0 serves the
 * callers that waited for it, once. Negative answers live min(SOA TTL, SOA
 * minimum) (RFC 2308, 5); without SOA they are not kept. Failures are never
 * data. Callers of the same question share one query.
 */
#ifndef OSTLER_QUEUE_ROUTE_RESOLVER_H
#define OSTLER_QUEUE_ROUTE_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/ip.h"
#include "lib/list.h"
#include "lib/net/dns_wire.h" /* enum dns_type, struct dns_record */

struct dns_backend;
struct resolver;
struct resolver_query; /* one caller's wait */

enum dns_status {
	DNS_OK,	      /* at least one record */
	DNS_NODATA,   /* the name exists, not with this type */
	DNS_NXDOMAIN, /* the name does not exist */
	DNS_FAILED,   /* SERVFAIL, timeout, lame, malformed: `why` */
	DNS_BOGUS,    /* DNSSEC validation failed (EDE 6..) */
};

/* Immutable (but is_cached), shared by counting. */
struct dns_set {
	unsigned refs;
	enum dns_status status;
	uint16_t type;
	bool is_secure; /* AD from a resolver that may be trusted */
	bool is_cached; /* the caller who is being called got it without a
			   query; means nothing later */
	bool is_stale;	/* the server said that it kept this past its TTL (EDE
			   3, 19): TTL 0, and no ground to give up on mail */
	/* Boot clock. A failure's expiry is when asking again makes sense. */
	uint64_t asked_ms, expires_ms;
	char *name;	 /* the question */
	char *canonical; /* behind CNAMEs */
	char *why;	 /* for DNS_FAILED: "timeout", "SERVFAIL", ... */
	struct dns_record *records;
	size_t count;
};

struct dns_set *dns_set_ref(struct dns_set *set);
void dns_set_unref(struct dns_set *set);

struct resolver_opts {
	const char *const *servers; /* NULL-terminated "IP:PORT"; NULL/empty:
				       the system's */
	uint64_t timeout_ms;	    /* of one try */
	unsigned attempts;
	uint64_t ttl_max_s, negative_ttl_max_s;
	size_t cache_bytes;	       /* 0: 64 MiB */
	const char *resolv_conf;       /* NULL: /etc/resolv.conf */
	uint64_t (*now_ms)(void *arg); /* NULL: boot clock; tests move it */
	void *now_arg;
	struct dns_backend *backend; /* NULL: c-ares; tests bring their own.
					takes; resolver_new only */
};

int resolver_new(uv_loop_t *loop, const struct resolver_opts *opts,
		 struct resolver **out, struct err *err);
/* New servers and limits after a reload; the cache stays. */
int resolver_configure(struct resolver *resolver,
		       const struct resolver_opts *opts, struct err *err);
/* Waiting callers get DNS_FAILED first, and nobody is called afterwards; the
 * memory goes with the next turns of the loop. NULL is fine. */
void resolver_free(struct resolver *resolver);

typedef void resolver_fn(void *owner, struct dns_set *set);

enum resolver_flags {
	RESOLVER_FRESH = 1,    /* past our cache */
	RESOLVER_STRANGER = 2, /* for somebody else: own small window, may be
				  refused with DNS_FAILED "busy" */
};

/*
 * Asks for a set; the callback comes later, once. set is lent for the call
 * (dns_set_ref keeps it).
 *
 * name  borrows; a normalised domain name
 */
struct resolver_query *resolver_ask(struct resolver *resolver, const char *name,
				    uint16_t type, unsigned flags,
				    resolver_fn *on_set, void *owner);
/* This caller no longer waits; allowed until the callback began. */
void resolver_cancel(struct resolver_query *query);

/* Drops a set from the cache, and answers still in flight for it. */
void resolver_drop(struct resolver *resolver, const char *name, uint16_t type);

uint64_t resolver_now_ms(const struct resolver *resolver);

/* For an answer that needs no question: comes later as a set would. */
struct resolver_later {
	struct list link; /* list_init before the first use */
	void (*on_later)(struct resolver_later *later);
};
void resolver_call_later(struct resolver *resolver,
			 struct resolver_later *later);

/*
 * The servers asked at the moment, as "IP:PORT IP:PORT" (cut to size).
 *
 * Returns whether all of them are on this host: only then is_secure can be
 * true, and nobody on the way can forge an answer.
 */
bool resolver_servers(const struct resolver *resolver, char *to, size_t size);

struct resolver_stats {
	uint64_t queries, hits, misses, joined, failed, negative;
	uint64_t packets, tcp_packets, evicted, refused; /* strangers */
	uint64_t entries, bytes, in_flight, waiting;
};
void resolver_stats(const struct resolver *resolver,
		    struct resolver_stats *out);

#endif
