/* SPDX-License-Identifier: ISC */
/*
 * lib/heap.h - what is due first, among very many
 *
 * An array heap of 64-bit keys (usually times in milliseconds). Elements
 * embed a heap_node and can be removed or re-keyed where they stand.
 */
#ifndef OSTLER_LIB_HEAP_H
#define OSTLER_LIB_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint64_t key;
	size_t place; /* 1-based index in the array; 0: not in a heap */
};

struct heap {
	struct heap_node **nodes; /* nodes[0] is the smallest */
	size_t count, capacity;
};

void heap_init(struct heap *heap);
void heap_done(struct heap *heap); /* frees the array, not the elements */

static inline bool
heap_holds(const struct heap_node *node)
{
	return node->place != 0;
}

/* Puts the node in, or moves it when it is in already. */
void heap_set(struct heap *heap, struct heap_node *node, uint64_t key);

/* Takes the node out; nothing happens when it is not in. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* The node with the smallest key, still in; NULL when empty. */
struct heap_node *heap_first(const struct heap *heap);

#endif
