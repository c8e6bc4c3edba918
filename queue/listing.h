/* SPDX-License-Identifier: ISC */
/*
 * queue/listing.h - a walk along the entries, for a list or for an order
 *
 * Shared by listing.c, which walks, and order.c, which does what was ordered
 * to each message that it comes to.
 */
#ifndef OSTLER_QUEUE_LISTING_H
#define OSTLER_QUEUE_LISTING_H

#include "queue/core.h"

struct queue_listing {
	struct queue *queue;
	struct list link;     /* of queue->listings */
	struct entry *cursor; /* the next one to look at; NULL: the end */
	uint64_t max_id;      /* younger ones are not looked at */
	uint64_t turn;	      /* of queue->walk_turn: the last it had */
	bool is_stopped;      /* until queue_list_resume */
	bool is_calling, is_cancelled;

	/* the filter; owns */
	char *domain, *state, *sender;
	bool has_category;
	uint16_t categories; /* as in struct leg; 0: a name of none */
	uint64_t *ids;
	size_t id_count, id_next;

	bool (*each)(void *arg, const struct queue_item *item);
	void (*on_end)(void *arg);
	/* or an order: */
	bool is_order;
	bool is_walked; /* what is left is on its way to the disk */
	enum queue_verb verb;
	char *via; /* owns; QUEUE_REDIRECT */
	uint64_t touched, pending;
	void (*on_count)(void *arg, uint64_t count);
	void *arg;
};

/* A walk that begins in the next turn of the loop. filter: copied. */
struct queue_listing *listing_new(struct queue *queue,
				  const struct queue_filter *filter);
/* Tells its owner that it is over, and goes. */
void listing_end(struct queue_listing *listing);

/* Does to the entry what the listing orders. Returns whether it was touched;
 * the entry may be gone. */
bool order_obey(struct queue_listing *listing, struct entry *entry);
/* The listing goes: orders on their way need not report to it. */
void order_detach_all(struct queue_listing *listing);

#endif
