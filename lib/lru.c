/* SPDX-License-Identifier: ISC */
#include "lib/lru.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/random.h"

#define LRU_SLOTS_MAX 65536

void
lru_init(struct lru *lru, size_t max,
	 void (*free_entry)(struct lru_entry *entry))
{
	memset(lru, 0, sizeof(*lru));
	list_init(&lru->used);
	lru->max = max;
	lru->free_entry = free_entry;
	lru->slot_count = 16;
	while (lru->slot_count < max && lru->slot_count < LRU_SLOTS_MAX)
		lru->slot_count *= 2;
	lru->slots = mem_zalloc(lru->slot_count * sizeof(lru->slots[0]));
	random_bytes(&lru->seed, sizeof(lru->seed));
}

void
lru_done(struct lru *lru)
{
	while (!list_is_empty(&lru->used))
		lru_remove(lru, container_of(lru->used.next, struct lru_entry,
					     used));
	free(lru->slots);
	lru->slots = NULL;
}

static struct lru_entry **
lru_slot(struct lru *lru, const void *key, size_t len)
{
	/* slot_count is a power of two */
	return &lru->slots[hash_bytes(&lru->seed, key, len) &
			   (lru->slot_count - 1)];
}

struct lru_entry *
lru_find(struct lru *lru, const void *key, size_t len)
{
	struct lru_entry *entry = *lru_slot(lru, key, len);

	while (entry != NULL &&
	       (entry->key_len != len || memcmp(entry->key, key, len) != 0))
		entry = entry->next;
	if (entry != NULL) {
		list_remove(&entry->used);
		list_push(&lru->used, &entry->used);
	}
	return entry;
}

void
lru_add(struct lru *lru, struct lru_entry *entry, const void *key, size_t len)
{
	struct lru_entry **slot = lru_slot(lru, key, len);

	if (lru->count == lru->max)
		lru_remove(lru, container_of(lru->used.next, struct lru_entry,
					     used));
	entry->key = key;
	entry->key_len = len;
	entry->next = *slot;
	*slot = entry;
	list_push(&lru->used, &entry->used);
	lru->count++;
}

void
lru_remove(struct lru *lru, struct lru_entry *entry)
{
	struct lru_entry **link = lru_slot(lru, entry->key, entry->key_len);

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	list_remove(&entry->used);
	lru->count--;
	lru->free_entry(entry);
}
