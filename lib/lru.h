/* SPDX-License-Identifier: ISC */
/*
 * lib/lru.h - a table with a largest size, which then forgets
 *
 * Elements embed a struct lru_entry and are found by a key of bytes. When the
 * table is full, the element that nobody asked for the longest goes. For what
 * strangers can make us remember. Loop thread only.
 */
#ifndef OSTLER_LIB_LRU_H
#define OSTLER_LIB_LRU_H

#include <stddef.h>
#include <stdint.h>

#include "lib/hash.h"
#include "lib/list.h"

struct lru_entry {
	struct list used;	/* least recently asked for first */
	struct lru_entry *next; /* of the same slot */
	const void *key;	/* lends: part of the element */
	size_t key_len;
};

struct lru {
	struct list used;
	struct lru_entry **slots; /* owns */
	size_t slot_count, count, max;
	struct hash_seed seed;
	void (*free_entry)(struct lru_entry *entry);
};

/*
 * max         elements at most, > 0
 * free_entry  frees an element that was taken off the table
 */
void lru_init(struct lru *lru, size_t max,
	      void (*free_entry)(struct lru_entry *entry));
void lru_done(struct lru *lru);

/* The element with this key, now the most recently asked for; or NULL. */
struct lru_entry *lru_find(struct lru *lru, const void *key, size_t len);

/* Adds an element whose key is not in the table; takes it. key lives in the
 * element. */
void lru_add(struct lru *lru, struct lru_entry *entry, const void *key,
	     size_t len);

/* Takes it off the table and frees it. */
void lru_remove(struct lru *lru, struct lru_entry *entry);

#endif
