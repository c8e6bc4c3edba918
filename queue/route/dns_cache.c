/* SPDX-License-Identifier: ISC */
#include "queue/route/dns_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/random.h"

#define BUCKETS_MIN 64
/* a failure's delay goes on doubling when asked again within this time */
#define FAILURE_MEMORY_MS (2 * DNS_FAILURE_MAX_MS)
#define PURGE_EACH	  4 /* expired entries dropped at each store */

/* ------------------------------------------------------------------- sets */

struct dns_set *
dns_set_new(const char *name, uint16_t type, enum dns_status status)
{
	struct dns_set *set = mem_zalloc(sizeof(*set));

	set->refs = 1;
	set->status = status;
	set->type = type;
	set->name = mem_strdup(name);
	return set;
}

struct dns_set *
dns_set_failed(const char *name, uint16_t type, enum dns_status status,
	       const char *why, uint64_t now_ms)
{
	struct dns_set *set = dns_set_new(name, type, status);

	set->asked_ms = now_ms;
	set->expires_ms = now_ms;
	set->why = mem_strdup(why);
	return set;
}

struct dns_set *
dns_set_ref(struct dns_set *set)
{
	set->refs++;
	return set;
}

void
dns_set_unref(struct dns_set *set)
{
	if (set == NULL)
		return;
	assert(set->refs != 0);
	if (--set->refs != 0)
		return;
	dns_records_free(set->records, set->count);
	free(set->name);
	free(set->canonical);
	free(set->why);
	free(set);
}

static size_t
text_bytes(const char *text)
{
	return text != NULL ? strlen(text) + 1 + 16 : 0;
}

/* Memory it takes. 16: what the allocator adds, roughly. */
static size_t
dns_set_bytes(const struct dns_set *set)
{
	size_t bytes = sizeof(*set) + 16 + text_bytes(set->name) +
		       text_bytes(set->canonical) + text_bytes(set->why) +
		       set->count * sizeof(*set->records);

	for (size_t i = 0; i < set->count; i++) {
		bytes += text_bytes(set->records[i].name);
		if (set->records[i].data != NULL)
			bytes += set->records[i].len + 17;
	}
	return bytes;
}

/* ------------------------------------------------------------------ table */

void
dns_cache_init(struct dns_cache *cache, size_t max_bytes)
{
	memset(cache, 0, sizeof(*cache));
	random_bytes(&cache->seed, sizeof(cache->seed));
	cache->bucket_count = BUCKETS_MIN;
	cache->buckets = mem_zalloc(BUCKETS_MIN * sizeof(*cache->buckets));
	cache->max_bytes = max_bytes;
	list_init(&cache->used);
	heap_init(&cache->expiry);
}

static uint64_t
key_hash(const struct dns_cache *cache, const char *name, uint16_t type)
{
	struct hash_seed seed = cache->seed;

	seed.b ^= type;
	return hash_bytes(&seed, name, strlen(name));
}

static struct dns_entry **
bucket_of(struct dns_cache *cache, uint64_t hash)
{
	return &cache->buckets[hash & (cache->bucket_count - 1)];
}

static void
table_grow(struct dns_cache *cache)
{
	struct dns_entry **old = cache->buckets;
	size_t old_count = cache->bucket_count;

	cache->bucket_count *= 2;
	cache->buckets =
		mem_zalloc(cache->bucket_count * sizeof(*cache->buckets));
	for (size_t i = 0; i < old_count; i++) {
		while (old[i] != NULL) {
			struct dns_entry *entry = old[i];
			struct dns_entry **to = bucket_of(cache, entry->hash);

			old[i] = entry->next;
			entry->next = *to;
			*to = entry;
		}
	}
	free(old);
}

struct dns_entry *
dns_cache_find(struct dns_cache *cache, const char *name, uint16_t type)
{
	uint64_t hash = key_hash(cache, name, type);
	struct dns_entry *entry = *bucket_of(cache, hash);

	while (entry != NULL && (entry->hash != hash || entry->type != type ||
				 strcmp(entry->name, name) != 0))
		entry = entry->next;
	return entry;
}

struct dns_entry *
dns_cache_get(struct dns_cache *cache, const char *name, uint16_t type)
{
	struct dns_entry *entry = dns_cache_find(cache, name, type);
	struct dns_entry **bucket;

	if (entry != NULL)
		return entry;
	if (cache->count >= cache->bucket_count)
		table_grow(cache);
	entry = mem_zalloc(sizeof(*entry));
	entry->hash = key_hash(cache, name, type);
	entry->name = mem_strdup(name);
	entry->type = type;
	list_init(&entry->used);
	entry->bytes = sizeof(*entry) + 16 + text_bytes(name);
	bucket = bucket_of(cache, entry->hash);
	entry->next = *bucket;
	*bucket = entry;
	cache->count++;
	cache->bytes += entry->bytes;
	return entry;
}

static void
entry_free(struct dns_cache *cache, struct dns_entry *entry)
{
	struct dns_entry **at = bucket_of(cache, entry->hash);

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	cache->count--;
	cache->bytes -= entry->bytes;
	free(entry->name);
	free(entry);
}

void
dns_cache_tidy(struct dns_cache *cache, struct dns_entry *entry)
{
	if (entry->set == NULL && entry->failure == NULL &&
	    entry->flight == NULL)
		entry_free(cache, entry);
}

/* ---------------------------------------------------------------- content */

static void
slot_set(struct dns_cache *cache, struct dns_entry *entry,
	 struct dns_set **slot, struct dns_set *set)
{
	size_t gone = *slot != NULL ? dns_set_bytes(*slot) : 0;
	size_t come = set != NULL ? dns_set_bytes(set) : 0;

	entry->bytes = entry->bytes - gone + come;
	cache->bytes = cache->bytes - gone + come;
	if (set != NULL)
		dns_set_ref(set);
	dns_set_unref(*slot);
	*slot = set;
}

void
dns_cache_forget(struct dns_cache *cache, struct dns_entry *entry)
{
	slot_set(cache, entry, &entry->set, NULL);
	slot_set(cache, entry, &entry->failure, NULL);
	list_remove(&entry->used);
	heap_remove(&cache->expiry, &entry->expiry);
}

/* Puts the entry where its content belongs on list and heap. */
static void
entry_place(struct dns_cache *cache, struct dns_entry *entry)
{
	uint64_t until = 0;

	list_remove(&entry->used);
	if (entry->set == NULL && entry->failure == NULL) {
		heap_remove(&cache->expiry, &entry->expiry);
		return;
	}
	list_push(&cache->used, &entry->used);
	if (entry->set != NULL)
		until = entry->set->expires_ms;
	if (entry->failure != NULL &&
	    entry->failure->expires_ms + FAILURE_MEMORY_MS > until)
		until = entry->failure->expires_ms + FAILURE_MEMORY_MS;
	heap_set(&cache->expiry, &entry->expiry, until);
}

static void
entry_drop(struct dns_cache *cache, struct dns_entry *entry)
{
	dns_cache_forget(cache, entry);
	dns_cache_tidy(cache, entry);
}

static void
purge(struct dns_cache *cache, uint64_t now_ms)
{
	for (unsigned i = 0; i < PURGE_EACH || cache->bytes > cache->max_bytes;
	     i++) {
		struct heap_node *first = heap_first(&cache->expiry);

		if (first == NULL || first->key > now_ms)
			break;
		entry_drop(cache,
			   container_of(first, struct dns_entry, expiry));
	}
	while (cache->bytes > cache->max_bytes &&
	       !list_is_empty(&cache->used)) {
		entry_drop(cache, container_of(cache->used.next,
					       struct dns_entry, used));
		cache->evicted++;
	}
}

static void
failure_store(struct dns_cache *cache, struct dns_entry *entry,
	      struct dns_set *set, uint64_t now_ms)
{
	uint64_t delay_ms = DNS_FAILURE_MIN_MS;

	if (entry->failure != NULL &&
	    now_ms < entry->failure->expires_ms + FAILURE_MEMORY_MS)
		delay_ms = 2 * (entry->failure->expires_ms -
				entry->failure->asked_ms);
	if (delay_ms < DNS_FAILURE_MIN_MS)
		delay_ms = DNS_FAILURE_MIN_MS;
	if (delay_ms > DNS_FAILURE_MAX_MS)
		delay_ms = DNS_FAILURE_MAX_MS;
	set->asked_ms = now_ms;
	set->expires_ms = now_ms + delay_ms;
	slot_set(cache, entry, &entry->failure, set);
}

void
dns_cache_store(struct dns_cache *cache, struct dns_entry *entry,
		struct dns_set *set, uint64_t now_ms)
{
	switch (set->status) {
	case DNS_OK:
	case DNS_NODATA:
	case DNS_NXDOMAIN:
		slot_set(cache, entry, &entry->failure, NULL);
		slot_set(cache, entry, &entry->set,
			 set->expires_ms > now_ms ? set : NULL);
		break;
	case DNS_FAILED:
	case DNS_BOGUS:
		failure_store(cache, entry, set, now_ms);
		break;
	}
	entry_place(cache, entry);
	purge(cache, now_ms);
}

struct dns_set *
dns_cache_known(struct dns_cache *cache, struct dns_entry *entry,
		uint64_t now_ms)
{
	struct dns_set *known = NULL;

	if (entry->set != NULL && now_ms < entry->set->expires_ms)
		known = entry->set;
	else if (entry->failure != NULL && now_ms < entry->failure->expires_ms)
		known = entry->failure;
	if (known != NULL) {
		list_remove(&entry->used);
		list_push(&cache->used, &entry->used);
	}
	return known;
}

void
dns_cache_done(struct dns_cache *cache)
{
	for (size_t i = 0; i < cache->bucket_count; i++) {
		while (cache->buckets[i] != NULL) {
			struct dns_entry *entry = cache->buckets[i];

			assert(entry->flight == NULL);
			dns_cache_forget(cache, entry);
			entry_free(cache, entry);
		}
	}
	free(cache->buckets);
	heap_done(&cache->expiry);
	cache->buckets = NULL;
	cache->bucket_count = 0;
}
