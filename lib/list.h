/* SPDX-License-Identifier: ISC */
/*
 * lib/list.h - a doubly linked list whose links live in the elements
 *
 * The head is a node of its own; an unlinked node points to itself, so that
 * list_remove may be called twice. Being on a list is a state: the mover of
 * an object is the only one that calls these on it.
 */
#ifndef OSTLER_LIB_LIST_H
#define OSTLER_LIB_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

/* The object of that type in which node is the member of that name. */
#define container_of(node, type, member)                                       \
	((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void
list_init(struct list *node)
{
	node->next = node->prev = node;
}

static inline bool
list_is_empty(const struct list *head)
{
	return head->next == head;
}

static inline void
list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* Behind the last element; node must not be on a list. */
static inline void
list_push(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* Before the first element. */
static inline void
list_push_front(struct list *head, struct list *node)
{
	list_push(head->next, node);
}

/* Takes the first element off; NULL when there is none. */
static inline struct list *
list_pop(struct list *head)
{
	struct list *node = head->next;

	if (node == head)
		return NULL;
	list_remove(node);
	return node;
}

#define list_each(node, head)                                                  \
	for (node = (head)->next; node != (head); node = node->next)

/* The loop body may remove node (but not the one behind it). */
#define list_each_safe(node, after, head)                                      \
	for (node = (head)->next, after = node->next; node != (head);          \
	     node = after, after = node->next)

#endif
