/* SPDX-License-Identifier: ISC */
/*
 * queue/route/dns_cache.h - record sets by name and type, bounded in bytes
 *
 * What is expired goes first, then what nobody asked for longest. An entry
 * also remembers that its question failed, and which flight is asking it;
 * with a flight it stays, whatever it holds. No clock: time is a parameter.
 */
#ifndef OSTLER_QUEUE_ROUTE_DNS_CACHE_H
#define OSTLER_QUEUE_ROUTE_DNS_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/hash.h"
#include "lib/heap.h"
#include "lib/list.h"
#include "queue/route/resolver.h"

struct flight;

#define DNS_FAILURE_MIN_MS 1000
#define DNS_FAILURE_MAX_MS 60000

struct dns_entry {
	struct dns_entry *next; /* in its bucket */
	uint64_t hash;
	char *name; /* lower case */
	uint16_t type;
	struct dns_set *set;	 /* shares; data or a negative answer */
	struct dns_set *failure; /* shares; the last one since any answer */
	struct flight *flight;	 /* not NULL: the entry stays */
	struct list used;	 /* last used last */
	struct heap_node expiry; /* when nothing here is of use any more */
	size_t bytes;
};

struct dns_cache {
	struct hash_seed seed;
	struct dns_entry **buckets;
	size_t bucket_count; /* a power of two */
	size_t count, bytes, max_bytes;
	struct list used;
	struct heap expiry;
	uint64_t evicted; /* before they expired */
};

void dns_cache_init(struct dns_cache *cache, size_t max_bytes);
/* No entry may have a flight. */
void dns_cache_done(struct dns_cache *cache);

/* The entry of a lower-case name, or NULL. */
struct dns_entry *dns_cache_find(struct dns_cache *cache, const char *name,
				 uint16_t type);
/* The same, made when it is missing. Without a set, failure or flight in it
 * the caller gives it back by dns_cache_tidy. */
struct dns_entry *dns_cache_get(struct dns_cache *cache, const char *name,
				uint16_t type);
/* What is known now: unexpired data, else a failure that is still too young
 * to ask again, else NULL. Lends; the entry counts as used. */
struct dns_set *dns_cache_known(struct dns_cache *cache,
				struct dns_entry *entry, uint64_t now_ms);

/*
 * Keeps a set (shares) as long as it says. Data replaces what was known,
 * also when it is not kept itself (TTL 0); a failure leaves data alone and
 * gets its expiry here: 1 s, doubled each time up to 60 s. May evict any
 * entry without a flight.
 */
void dns_cache_store(struct dns_cache *cache, struct dns_entry *entry,
		     struct dns_set *set, uint64_t now_ms);

/* Drops what the entry knows. */
void dns_cache_forget(struct dns_cache *cache, struct dns_entry *entry);
/* Frees the entry if nothing is in it. */
void dns_cache_tidy(struct dns_cache *cache, struct dns_entry *entry);

/* --------------------------------------------------------------- the sets */

/* A failure with a reason (copied). */
struct dns_set *dns_set_failed(const char *name, uint16_t type,
			       enum dns_status status, const char *why,
			       uint64_t now_ms);

/* An empty set to be filled in; one reference. */
struct dns_set *dns_set_new(const char *name, uint16_t type,
			    enum dns_status status);

#endif
