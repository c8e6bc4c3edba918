/* SPDX-License-Identifier: ISC */
/*
 * What operators ask and order: all of it walks along the entries in order
 * of arrival, a bounded number in each turn of the loop, so that mail goes on
 * while a million lines are printed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "queue/core.h"

/* Entries looked at in one turn of the loop, for each listing. */
#define LISTING_TURN 500

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
listing_drop_orders(struct queue *queue)
{
	while (!list_is_empty(&queue->orders))
		order_free(
			container_of(queue->orders.next, struct order, link));
}

static void
listing_free(struct queue_listing *listing)
{
	struct list *node;

	list_each (node, &listing->queue->orders) {
		struct order *order = container_of(node, struct order, link);

		if (order->listing == listing)
			order->listing = NULL;
	}
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

/* --------------------------------------------------------------- orders */

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

static void listing_end(struct queue_listing *listing);

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

static bool
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

static void
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

static struct queue_listing *
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

/* ----------------------------------------------------------------- show */

struct show {
	struct queue *queue;
	struct list link; /* of queue->shows */
	struct spool_load *load;
	uint64_t id;
	void (*on_shown)(void *arg, int status, const struct envelope *envelope,
			 const char *states);
	void *arg;
};

static void
show_end(struct show *show, int status, const struct envelope *envelope,
	 const char *states)
{
	list_remove(&show->link);
	show->on_shown(show->arg, status, envelope, states);
	free(show);
}

static void
on_show_text(void *arg, int status, const struct spool_text *text)
{
	struct show *show = arg;
	struct envelope envelope;

	envelope_init(&envelope);
	if (status == 0)
		status = envelope_parse(text->envelope, text->states, &envelope,
					NULL);
	if (status < 0) {
		show_end(show, status, NULL, NULL);
		return;
	}
	envelope.id = show->id;
	envelope.size = text->body_bytes;
	show_end(show, 0, &envelope, text->states);
	envelope_done(&envelope);
}

void
queue_show(struct queue *queue, uint64_t id,
	   void (*on_shown)(void *arg, int status,
			    const struct envelope *envelope,
			    const char *states),
	   void *arg)
{
	struct show *show = mem_zalloc(sizeof(*show));

	show->queue = queue;
	show->id = id;
	show->on_shown = on_shown;
	show->arg = arg;
	list_init(&show->link);
	list_push(&queue->shows, &show->link);
	show->load = spool_load(queue->spool, id, on_show_text, show);
}

void
listing_end_all(struct queue *queue)
{
	while (!list_is_empty(&queue->listings))
		listing_end(container_of(queue->listings.next,
					 struct queue_listing, link));
	while (!list_is_empty(&queue->shows)) {
		struct show *show =
			container_of(queue->shows.next, struct show, link);

		spool_load_cancel(show->load);
		show_end(show, -ECANCELED, NULL, NULL);
	}
}

/* --------------------------------------------------------- destinations */

struct top {
	const struct destination **best; /* most waiting first */
	size_t count, max;
};

static uint64_t
waiting_of(const struct destination *to)
{
	return to->legs - to->active;
}

static void
top_offer(const struct destination *to, void *arg)
{
	struct top *top = arg;
	size_t at = top->count;

	if (to->legs == 0 || strcmp(to->key, KEY_ROUTING) == 0 ||
	    strcmp(to->key, KEY_BOUNCING) == 0)
		return;
	while (at > 0 && waiting_of(top->best[at - 1]) < waiting_of(to)) {
		if (at < top->max)
			top->best[at] = top->best[at - 1];
		at--;
	}
	if (at == top->max)
		return;
	top->best[at] = to;
	if (top->count < top->max)
		top->count++;
}

void
queue_destinations(const struct queue *queue, size_t max,
		   void (*each)(void *arg, const char *key, uint64_t waiting,
				uint64_t active, const char *last_error),
		   void *arg)
{
	struct top top = {.max = max};

	if (max == 0)
		return;
	top.best = mem_zalloc(max * sizeof(*top.best));
	schedule_each_destination(&queue->schedule, top_offer, &top);
	for (size_t i = 0; i < top.count; i++) {
		const struct destination *to = top.best[i];

		each(arg, to->key, waiting_of(to), to->active,
		     to->last_error != NULL ? to->last_error->text : "");
	}
	free(top.best);
}
