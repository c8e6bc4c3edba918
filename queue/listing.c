/* SPDX-License-Identifier: ISC */
/*
 * Walks along the entries in order of arrival, a bounded number in each turn
 * of the loop, so that mail goes on while a million lines are printed.
 */
#include "queue/listing.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/* Entries looked at in one turn of the loop, for each listing. */
#define LISTING_TURN 500

static void
listing_free(struct queue_listing *listing)
{
	order_detach_all(listing);
	list_remove(&listing->link);
	free(listing->via);
	free(listing->domain);
	free(listing->state);
	free(listing->sender);
	free(listing->ids);
	free(listing);
}

/* ---------------------------------------------------------------- items */

static const char *
entry_state(const struct entry *entry)
{
	const struct leg *leg;
	bool is_tried = false;

	for (leg = &entry->leg; leg != NULL; leg = leg->next) {
		if (leg->state == LEG_ACTIVE || leg->state == LEG_SETTLING)
			return "active";
		is_tried |= leg->attempts != 0 || leg->why != NULL;
	}
	if (entry->is_held)
		return "held";
	return is_tried ? "deferred" : "queued";
}

static const char *
entry_category(const struct entry *entry)
{
	const struct leg *leg;

	for (leg = &entry->leg; leg != NULL; leg = leg->next)
		if (leg->state != LEG_NEW && leg->category != 0)
			return category_name(
				(enum category)(leg->category - 1));
	return "";
}

/* All that it waits for. */
static uint16_t
entry_categories(const struct entry *entry)
{
	uint16_t categories = 0;

	for (const struct leg *leg = &entry->leg; leg != NULL; leg = leg->next)
		if (leg->state != LEG_NEW)
			categories |= leg->categories;
	return categories;
}

static void
item_make(const struct queue *queue, const struct entry *entry,
	  struct queue_item *out)
{
	uint64_t next_ms = UINT64_MAX, boot_ms = queue_boot_ms(queue);
	const struct leg *leg;

	memset(out, 0, sizeof(*out));
	out->id = entry->id;
	out->received_ms = entry->received_ms;
	out->size = entry->size;
	out->sender = entry_sender(entry);
	out->recipient = entry_recipient(entry);
	out->state = entry_state(entry);
	out->category = entry_category(entry);
	out->why = "";
	for (leg = &entry->leg; leg != NULL; leg = leg->next) {
		if (leg->state == LEG_NEW)
			continue;
		out->recipients_left += leg->recipients;
		if (leg->attempts > out->attempts)
			out->attempts = leg->attempts;
		if (leg->why != NULL && out->why[0] == '\0')
			out->why = leg->why->text;
		if (leg->state != LEG_QUEUED)
			next_ms = 0;
		else if (leg->due.key < next_ms)
			next_ms = leg->due.key;
	}
	if (next_ms > boot_ms && next_ms != UINT64_MAX)
		out->next_try_ms = queue_wall_ms(queue) + (next_ms - boot_ms);
}

static bool
is_wanted(const struct queue_listing *listing, const struct entry *entry)
{
	if (entry->id > listing->max_id)
		return false;
	if (listing->domain != NULL &&
	    !entry_has_domain(entry, listing->domain))
		return false;
	if (listing->sender != NULL &&
	    !str_is_nocase(str_of(entry_sender(entry)), listing->sender))
		return false;
	if (listing->state != NULL &&
	    strcmp(entry_state(entry), listing->state) != 0)
		return false;
	return !listing->has_category ||
	       (entry_categories(entry) & listing->categories) != 0;
}

/* -------------------------------------------------------------- walking */

static struct entry *
entry_after(const struct queue *queue, const struct entry *entry)
{
	const struct list *next = entry->link.next;

	return next != &queue->entries ? container_of(next, struct entry, link)
				       : NULL;
}

/* The next one to look at; NULL: none is left. */
static struct entry *
listing_next(struct queue_listing *listing)
{
	struct entry *entry;

	while (listing->id_next < listing->id_count) {
		entry = entry_index_find(&listing->queue->index,
					 listing->ids[listing->id_next++]);
		if (entry != NULL)
			return entry;
	}
	entry = listing->cursor;
	if (entry != NULL)
		listing->cursor = entry_after(listing->queue, entry);
	return entry;
}

void
listing_end(struct queue_listing *listing)
{
	void (*on_end)(void *arg) = listing->on_end;
	void (*on_count)(void *arg, uint64_t count) = listing->on_count;
	void *arg = listing->arg;
	uint64_t touched = listing->touched;
	bool is_order = listing->is_order;

	if (is_order)
		queue_kick(listing->queue);
	listing_free(listing);
	if (is_order && on_count != NULL)
		on_count(arg, touched);
	else if (!is_order)
		on_end(arg);
}

/* Returns false when it was cancelled, and is gone. */
static bool
listing_visit(struct queue_listing *listing, struct entry *entry)
{
	struct queue_item item;

	if (!is_wanted(listing, entry))
		return true;
	if (listing->is_order) {
		listing->touched += order_obey(listing, entry);
		return true;
	}
	item_make(listing->queue, entry, &item);
	listing->is_calling = true;
	listing->is_stopped = !listing->each(listing->arg, &item);
	listing->is_calling = false;
	if (!listing->is_cancelled)
		return true;
	listing_free(listing);
	return false;
}

/* One turn. */
static void
listing_walk(struct queue_listing *listing)
{
	for (unsigned i = 0; i < LISTING_TURN && !listing->is_stopped; i++) {
		struct entry *entry = listing_next(listing);

		if (entry == NULL && listing->pending != 0) {
			listing->is_walked = listing->is_stopped = true;
			return;
		}
		if (entry == NULL) {
			listing_end(listing);
			return;
		}
		if (!listing_visit(listing, entry))
			return;
	}
}

/* The next one that this turn has not taken yet; NULL: none is left. All of
 * them stay on the queue's list, where listing_forget looks for them. */
static struct queue_listing *
listing_of_turn(const struct queue *queue)
{
	const struct list *node;

	list_each (node, &queue->listings) {
		struct queue_listing *listing =
			container_of(node, struct queue_listing, link);

		if (!listing->is_stopped && listing->turn != queue->walk_turn)
			return listing;
	}
	return NULL;
}

/* Callbacks may add, cancel and resume. */
static void
on_walk(uv_idle_t *walk)
{
	struct queue *queue = walk->data;
	struct queue_listing *listing;
	struct list *node;
	bool is_more = false;

	queue->walk_turn++;
	for (;;) {
		listing = listing_of_turn(queue);
		if (listing == NULL)
			break;
		listing->turn = queue->walk_turn;
		listing_walk(listing);
	}
	list_each (node, &queue->listings)
		is_more |= !container_of(node, struct queue_listing, link)
				    ->is_stopped;
	if (!is_more)
		(void)uv_idle_stop(walk);
}

static void
listing_go(struct queue_listing *listing)
{
	(void)uv_idle_start(&listing->queue->walk, on_walk);
}

struct queue_listing *
listing_new(struct queue *queue, const struct queue_filter *filter)
{
	struct queue_listing *listing = mem_zalloc(sizeof(*listing));
	const struct list *first = queue->entries.next;
	enum category category;

	listing->queue = queue;
	listing->max_id = queue->max_id;
	listing->turn = queue->walk_turn; /* the next one is its first */
	listing->domain = mem_strdup(filter->domain);
	listing->state = mem_strdup(filter->state);
	if (filter->category != NULL) {
		listing->has_category = true;
		if (category_parse(filter->category, &category))
			listing->categories = (uint16_t)(1u << category);
	}
	listing->sender = mem_strdup(filter->sender);
	if (filter->ids != NULL) {
		listing->id_count = filter->id_count;
		listing->ids = mem_alloc((filter->id_count + 1) *
					 sizeof(*listing->ids));
		memcpy(listing->ids, filter->ids,
		       filter->id_count * sizeof(*listing->ids));
	} else if (first != &queue->entries) {
		listing->cursor = container_of(first, struct entry, link);
	}
	list_init(&listing->link);
	list_push(&queue->listings, &listing->link);
	listing_go(listing);
	return listing;
}

struct queue_listing *
queue_list(struct queue *queue, const struct queue_filter *filter,
	   bool (*each)(void *arg, const struct queue_item *item),
	   void (*on_end)(void *arg), void *arg)
{
	struct queue_listing *listing = listing_new(queue, filter);

	listing->each = each;
	listing->on_end = on_end;
	listing->arg = arg;
	return listing;
}

void
queue_list_resume(struct queue_listing *listing)
{
	listing->is_stopped = false;
	listing_go(listing);
}

void
queue_list_cancel(struct queue_listing *listing)
{
	if (listing->is_calling)
		listing->is_cancelled = listing->is_stopped = true;
	else
		listing_free(listing);
}

void
listing_forget(struct queue *queue, const struct entry *entry)
{
	struct list *node;

	list_each (node, &queue->listings) {
		struct queue_listing *listing =
			container_of(node, struct queue_listing, link);

		if (listing->cursor == entry)
			listing->cursor = entry_after(queue, entry);
	}
}

void
listing_end_all(struct queue *queue)
{
	while (!list_is_empty(&queue->listings))
		listing_end(container_of(queue->listings.next,
					 struct queue_listing, link));
}
