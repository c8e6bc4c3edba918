/* SPDX-License-Identifier: ISC */
#include "lib/heap.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

void
heap_init(struct heap *heap)
{
	memset(heap, 0, sizeof(*heap));
}

void
heap_done(struct heap *heap)
{
	free(heap->nodes);
	heap_init(heap);
}

static void
heap_put(struct heap *heap, size_t index, struct heap_node *node)
{
	heap->nodes[index] = node;
	node->place = index + 1;
}

static void
heap_up(struct heap *heap, size_t index, struct heap_node *node)
{
	while (index > 0) {
		size_t parent = (index - 1) / 2;

		if (heap->nodes[parent]->key <= node->key)
			break;
		heap_put(heap, index, heap->nodes[parent]);
		index = parent;
	}
	heap_put(heap, index, node);
}

static void
heap_down(struct heap *heap, size_t index, struct heap_node *node)
{
	for (;;) {
		size_t child = index * 2 + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    heap->nodes[child + 1]->key < heap->nodes[child]->key)
			child++;
		if (heap->nodes[child]->key >= node->key)
			break;
		heap_put(heap, index, heap->nodes[child]);
		index = child;
	}
	heap_put(heap, index, node);
}

void
heap_set(struct heap *heap, struct heap_node *node, uint64_t key)
{
	bool smaller = key < node->key;

	if (node->place != 0) {
		node->key = key;
		if (smaller)
			heap_up(heap, node->place - 1, node);
		else
			heap_down(heap, node->place - 1, node);
		return;
	}
	if (heap->count == heap->capacity) {
		heap->capacity = heap->capacity != 0 ? heap->capacity * 2 : 64;
		heap->nodes = mem_resize(heap->nodes, heap->capacity,
					 sizeof(*heap->nodes));
	}
	node->key = key;
	heap_up(heap, heap->count++, node);
}

void
heap_remove(struct heap *heap, struct heap_node *node)
{
	struct heap_node *last;
	size_t index;

	if (node->place == 0)
		return;
	index = node->place - 1;
	node->place = 0;
	last = heap->nodes[--heap->count];
	if (last == node)
		return;
	if (last->key < node->key)
		heap_up(heap, index, last);
	else
		heap_down(heap, index, last);
}

struct heap_node *
heap_first(const struct heap *heap)
{
	return heap->count != 0 ? heap->nodes[0] : NULL;
}
