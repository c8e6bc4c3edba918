/* SPDX-License-Identifier: ISC */
#include "policy/limit.h"

#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/list.h"
#include "lib/mem.h"
#include "lib/random.h"
#include "lib/str.h"

struct bucket {
	struct list used;    /* on limit.used, least recently asked first */
	struct bucket *next; /* of the same slot */
	uint64_t filled_ms;  /* when level was true */
	double level;	     /* 0..1, the share of the rate's count */
	char key[];
};

struct limit {
	struct list used;
	struct bucket **slots;
	size_t slot_count; /* a power of two */
	size_t count, max_keys;
	struct hash_seed seed; /* clients choose among their addresses */
};

static size_t
limit_slot(const struct limit *limit, struct str key)
{
	return (size_t)hash_bytes(&limit->seed, key.at, key.len) &
	       (limit->slot_count - 1);
}

static struct str
limit_key(const char *key)
{
	return str_from(key, strnlen(key, LIMIT_KEY_MAX));
}

struct limit *
limit_new(size_t max_keys)
{
	struct limit *limit = mem_zalloc(sizeof(*limit));

	list_init(&limit->used);
	limit->max_keys = max_keys;
	random_bytes(&limit->seed, sizeof(limit->seed));
	limit->slot_count = 16;
	while (limit->slot_count < max_keys && limit->slot_count < 65536)
		limit->slot_count *= 2;
	limit->slots = mem_zalloc(limit->slot_count * sizeof(limit->slots[0]));
	return limit;
}

void
limit_free(struct limit *limit)
{
	struct list *node, *after;

	if (limit == NULL)
		return;
	list_each_safe (node, after, &limit->used)
		free(container_of(node, struct bucket, used));
	free(limit->slots);
	free(limit);
}

static struct bucket *
limit_find(const struct limit *limit, struct str key)
{
	struct bucket *bucket = limit->slots[limit_slot(limit, key)];

	while (bucket != NULL && !str_is(key, bucket->key))
		bucket = bucket->next;
	return bucket;
}

static void
limit_forget(struct limit *limit, struct bucket *bucket)
{
	struct bucket **link =
		&limit->slots[limit_slot(limit, str_of(bucket->key))];

	while (*link != bucket)
		link = &(*link)->next;
	*link = bucket->next;
	list_remove(&bucket->used);
	free(bucket);
	limit->count--;
}

static struct bucket *
limit_add(struct limit *limit, struct str key, uint64_t now_ms)
{
	struct bucket *bucket = mem_zalloc(sizeof(*bucket) + key.len + 1);
	struct bucket **slot = &limit->slots[limit_slot(limit, key)];

	if (limit->count == limit->max_keys)
		limit_forget(limit, container_of(limit->used.next,
						 struct bucket, used));
	memcpy(bucket->key, key.at, key.len);
	bucket->level = 1;
	bucket->filled_ms = now_ms;
	list_init(&bucket->used);
	bucket->next = *slot;
	*slot = bucket;
	limit->count++;
	return bucket;
}

static void
bucket_fill(struct bucket *bucket, const struct units_rate *rate,
	    uint64_t now_ms)
{
	uint64_t passed_ms =
		now_ms > bucket->filled_ms ? now_ms - bucket->filled_ms : 0;

	bucket->level += (double)passed_ms / (rate->period_s * 1000.0);
	if (bucket->level > 1)
		bucket->level = 1;
	if (passed_ms != 0)
		bucket->filled_ms = now_ms;
}

bool
limit_take(struct limit *limit, const char *key, const struct units_rate *rate,
	   uint32_t count, uint64_t now_ms, uint64_t *out_wait_ms)
{
	/* the sum of many small fillings may miss a whole by a hair */
	const double hair = 1e-9;
	struct bucket *bucket;
	uint64_t wait_ms = 0;
	double share;

	if (rate->count == 0) {
		if (out_wait_ms != NULL)
			*out_wait_ms = 0;
		return true;
	}
	bucket = limit_find(limit, limit_key(key));
	if (bucket == NULL)
		bucket = limit_add(limit, limit_key(key), now_ms);
	list_remove(&bucket->used);
	list_push(&limit->used, &bucket->used);
	bucket_fill(bucket, rate, now_ms);

	share = (double)count / rate->count;
	if (count > rate->count)
		wait_ms = UINT64_MAX;
	else if (share > bucket->level + hair)
		wait_ms = (uint64_t)((share - bucket->level) * rate->period_s *
				     1000.0) +
			  1;
	else
		bucket->level -= share;
	if (out_wait_ms != NULL)
		*out_wait_ms = wait_ms;
	return wait_ms == 0;
}

void
limit_give(struct limit *limit, const char *key, const struct units_rate *rate,
	   uint32_t count)
{
	struct bucket *bucket = limit_find(limit, limit_key(key));

	if (bucket == NULL || rate->count == 0)
		return;
	bucket->level += (double)count / rate->count;
	if (bucket->level > 1)
		bucket->level = 1;
}

size_t
limit_count(const struct limit *limit)
{
	return limit->count;
}
