/* SPDX-License-Identifier: ISC */
/*
 * What operators order: to try now, to hold, release, remove, return or
 * redirect what a walk along the entries comes to. What a crash must not undo
 * is on the disk before it is done.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "queue/listing.h"

/* What was ordered of one message, on its way to the disk: nothing of it is
 * done before it is durable, or a crash would undo it. */
struct order {
	struct queue *queue;
	struct list link;	       /* of queue->orders */
	struct queue_listing *listing; /* NULL: it ended */
	uint64_t id;
	enum queue_verb verb;
	char *domain, *via; /* own */
};

static void
order_free(struct order *order)
{
	list_remove(&order->link);
	free(order->domain);
	free(order->via);
	free(order);
}

void
order_drop_all(struct queue *queue)
{
	while (!list_is_empty(&queue->orders))
		order_free(
			container_of(queue->orders.next, struct order, link));
}

void
order_detach_all(struct queue_listing *listing)
{
	struct list *node;

	list_each (node, &listing->queue->orders) {
		struct order *order = container_of(node, struct order, link);

		if (order->listing == listing)
			order->listing = NULL;
	}
}

static void
log_order(const struct entry *entry, const char *event)
{
	char id[SPOOL_ID_MAX];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, event);
	log_text(&line, "id", spool_id_format(entry->id, id));
	log_text(&line, "from", entry_sender(entry));
	log_text(&line, "to", entry_recipient(entry));
	log_end(&line);
}

static void
write_held(struct queue *queue, const struct entry *entry)
{
	struct envelope envelope;
	struct buf line;

	envelope_init(&envelope);
	envelope.is_held = entry->is_held;
	buf_init(&line, 64);
	envelope_format_state(&envelope, -1, NULL, &line);
	spool_state(queue->spool, entry->id, buf_text(&line), NULL, NULL);
	buf_done(&line);
}

static bool
is_idle(const struct leg *leg)
{
	return leg->state == LEG_QUEUED || leg->state == LEG_WAITING ||
	       leg->state == LEG_HELD;
}

static bool
order_retry(struct queue *queue, struct entry *entry)
{
	struct leg *leg;
	bool is_touched = false;

	for (leg = &entry->leg; leg != NULL; leg = leg->next) {
		if (leg->state != LEG_QUEUED && leg->state != LEG_WAITING)
			continue;
		if (leg->destination != NULL)
			schedule_believe(&queue->schedule, leg->destination);
		if (leg_awaits_routing(leg))
			entry->is_urged = true;
		if (leg->state == LEG_QUEUED) {
			leg->is_down = false;
			schedule_wait(&queue->schedule, leg,
				      queue_boot_ms(queue));
		}
		is_touched = true;
	}
	return is_touched;
}

static bool
order_hold(struct queue *queue, struct entry *entry)
{
	struct leg *leg;

	if (entry->is_held)
		return false;
	entry->is_held = true;
	write_held(queue, entry);
	if (entry->message != NULL && entry->message->refs == 0)
		message_drop(entry->message);
	/* those at work follow when they are settled */
	for (leg = &entry->leg; leg != NULL; leg = leg->next)
		if (leg->state == LEG_QUEUED || leg->state == LEG_WAITING)
			schedule_hold(&queue->schedule, leg);
	log_order(entry, "held");
	return true;
}

static bool
order_release(struct queue *queue, struct entry *entry)
{
	struct leg *leg;

	if (!entry->is_held)
		return false;
	entry->is_held = false;
	write_held(queue, entry);
	for (leg = &entry->leg; leg != NULL; leg = leg->next)
		if (leg->state == LEG_HELD)
			schedule_wait(&queue->schedule, leg, leg->due.key);
	log_order(entry, "released");
	return true;
}

static void
write_order(const struct order *order, void (*on_saved)(void *arg, int status))
{
	struct buf line;

	buf_init(&line, 4096);
	if (order->verb == QUEUE_BOUNCE)
		envelope_format_bounce(&line);
	else
		envelope_format_redirect(order->domain, order->via, &line);
	spool_state(order->queue->spool, order->id, buf_text(&line), on_saved,
		    (void *)(uintptr_t)order);
	buf_done(&line);
}

/* One leg takes all recipients that nobody works on, through the reader of
 * envelopes; others follow when they are settled. */
static void
gather_legs(struct queue *queue, struct entry *entry)
{
	struct leg *leg, *next, *first = NULL;

	for (leg = &entry->leg; leg != NULL; leg = next) {
		next = leg->next;
		if (!is_idle(leg))
			continue;
		if (first == NULL) {
			first = leg;
			leg_wait(queue, leg, 0);
		} else {
			first->recipients += leg->recipients;
			first->categories |= leg->categories;
			if (entry->message != NULL)
				message_hand_over(entry->message, leg, first);
			leg_end(queue, leg);
		}
	}
}

static void
carry_out(const struct order *order, struct entry *entry)
{
	struct message *message = entry->message;

	if (order->verb == QUEUE_BOUNCE) {
		entry->is_bouncing = true;
		log_order(entry, "returned");
	} else {
		entry->is_redirected = entry->is_rerouted = true;
		log_order(entry, "redirected");
		if (message != NULL && message->load == NULL)
			envelope_redirect(&message->envelope, order->domain,
					  order->via);
		else if (message != NULL)
			message_reload(message);
	}
	gather_legs(order->queue, entry);
	queue_kick(order->queue);
}

static void
on_order_saved(void *arg, int status)
{
	struct order *order = arg;
	struct queue_listing *listing = order->listing;
	struct entry *entry = entry_index_find(&order->queue->index, order->id);

	if (order->queue->is_closing) {
		/* the next start carries it out */
		if (entry != NULL)
			entry->is_ordered = false;
	} else if (entry != NULL) {
		entry->is_ordered = false;
		if (status == 0)
			carry_out(order, entry);
	}
	order_free(order);
	if (listing == NULL)
		return;
	listing->touched -= status != 0;
	if (--listing->pending == 0 && listing->is_walked)
		listing_end(listing);
}

static bool
order_write(struct queue_listing *listing, struct entry *entry)
{
	struct order *order;

	if (entry->is_ordered ||
	    (listing->verb == QUEUE_BOUNCE && entry->is_bouncing))
		return false;
	entry->is_ordered = true;
	order = mem_zalloc(sizeof(*order));
	order->queue = listing->queue;
	order->listing = listing;
	order->id = entry->id;
	order->verb = listing->verb;
	order->domain = mem_strdup(listing->domain);
	order->via = mem_strdup(listing->via);
	list_init(&order->link);
	list_push(&listing->queue->orders, &order->link);
	listing->pending++;
	write_order(order, on_order_saved);
	return true;
}

bool
order_obey(struct queue_listing *listing, struct entry *entry)
{
	struct queue *queue = listing->queue;

	switch (listing->verb) {
	case QUEUE_RETRY:
		return order_retry(queue, entry);
	case QUEUE_HOLD:
		return order_hold(queue, entry);
	case QUEUE_RELEASE:
		return order_release(queue, entry);
	case QUEUE_REMOVE:
		log_order(entry, "removed");
		entry_remove(queue, entry);
		return true;
	case QUEUE_BOUNCE:
	case QUEUE_REDIRECT:
		return order_write(listing, entry);
	}
	return false;
}

void
queue_apply(struct queue *queue, enum queue_verb verb,
	    const struct queue_filter *filter,
	    void (*on_count)(void *arg, uint64_t count), void *arg)
{
	struct queue_listing *listing = listing_new(queue, filter);

	if (verb == QUEUE_RETRY) /* he may know that they are back */
		deliverer_forget_marks(queue->deliverer);
	listing->is_order = true;
	listing->verb = verb;
	listing->on_count = on_count;
	listing->arg = arg;
}

void
queue_redirect(struct queue *queue, const char *via,
	       const struct queue_filter *filter,
	       void (*on_count)(void *arg, uint64_t count), void *arg)
{
	struct queue_listing *listing = listing_new(queue, filter);

	listing->is_order = true;
	listing->verb = QUEUE_REDIRECT;
	listing->via = mem_strdup(via);
	listing->on_count = on_count;
	listing->arg = arg;
}
