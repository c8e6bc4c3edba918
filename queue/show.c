/* SPDX-License-Identifier: ISC */
/*
 * What operators look at closely: one message with all its attempts, and the
 * destinations that most mail waits for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/core.h"

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
show_end_all(struct queue *queue)
{
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
