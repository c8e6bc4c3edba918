/* SPDX-License-Identifier: ISC */
/*
 * How a message comes into the queue: put by a session, by a report or the
 * digest, and then durable; or found in the spool at the start.
 */
#include <stdlib.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "queue/core.h"
#include "queue/spool/format.h"

_Static_assert(ENVELOPE_RECIPIENTS_MAX + ENVELOPE_OTHERS_MAX <= FORMAT_TEXT_MAX,
	       "an envelope that was accepted can be stored");

/* A settled message found before the spool can be told so. */
struct orphan {
	struct list link;
	uint64_t id;
};

/* ----------------------------------------------------------- accepting */

enum queue_accepting
queue_accepting(const struct queue *queue)
{
	if (queue->is_closing || spool_is_broken(queue->spool))
		return QUEUE_BROKEN;
	return spool_is_short(queue->spool) ? QUEUE_SHORT : QUEUE_ACCEPTS;
}

static void
put_forget(struct queue_put *put)
{
	envelope_done(put->envelope);
	free(put->envelope);
	put->envelope = NULL;
	put->queue = NULL;
}

static void
on_put_room(void *owner)
{
	struct queue_put *put = owner;

	put->on_room(put->owner);
}

static void
on_put_end(void *owner, int status)
{
	struct queue_put *put = owner;
	struct queue *queue = put->queue;

	if (status == 0 && !queue->has_closed_spool) {
		queue->accepted++;
		entry_begin(queue, put->envelope, true);
	}
	put_forget(put);
	put->on_end(put->owner, status);
}

void
queue_put_begin(struct queue *queue, struct queue_put *put,
		struct envelope *envelope)
{
	put->queue = queue;
	put->envelope = mem_alloc(sizeof(*put->envelope));
	*put->envelope = *envelope;
	envelope_init(envelope);
	put->size = 0;
	put->spool.owner = put;
	put->spool.on_room = on_put_room;
	put->spool.on_end = on_put_end;
	spool_put_begin(queue->spool, &put->spool);
	put->envelope->id = put->spool.id;
}

bool
queue_put_data(struct queue_put *put, const void *bytes, size_t len)
{
	put->size += len;
	return spool_put_data(&put->spool, bytes, len);
}

void
queue_put_end(struct queue_put *put)
{
	struct buf text;

	put->envelope->size = put->size;
	buf_init(&text, SIZE_MAX / 4);
	envelope_format(put->envelope, &text);
	spool_put_end(&put->spool, buf_text(&text));
	buf_done(&text);
}

void
queue_put_abort(struct queue_put *put)
{
	if (put->queue == NULL)
		return;
	spool_put_abort(&put->spool);
	put_forget(put);
}

/* ----------------------------------------------------- found at the start */

static void
log_spool(bool is_error, const char *file, const char *text)
{
	struct log_line line;

	log_begin(&line, is_error ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "spool");
	log_text(&line, "file", file);
	log_text(&line, "reason", text);
	log_end(&line);
}

static void
settled_before(struct queue *queue, uint64_t id)
{
	struct orphan *orphan;

	if (queue->spool != NULL) {
		spool_done(queue->spool, id);
		return;
	}
	orphan = mem_alloc(sizeof(*orphan));
	orphan->id = id;
	list_init(&orphan->link);
	list_push(&queue->orphans, &orphan->link);
}

/*
 * What is told of the future was noted by a clock that was wrong: the age
 * counts from now, and nobody knows how much of a wait is over.
 */
static void
mend_times(struct envelope *envelope, uint64_t now_ms)
{
	if (envelope->received_ms > now_ms)
		envelope->received_ms = now_ms;
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		struct recipient *recipient = &envelope->recipients[i];

		if (recipient->last_attempt_ms <= now_ms)
			continue;
		recipient->last_attempt_ms = now_ms;
		recipient->next_try_ms = 0;
	}
}

static void
on_found(void *owner, const struct spool_found *found)
{
	struct queue *queue = owner;
	struct envelope envelope;
	struct err err = ERR_INIT;
	size_t left = 0;

	if (entry_index_find(&queue->index, found->id) != NULL)
		return;
	if (envelope_parse(found->envelope, found->states, &envelope, &err) <
	    0) {
		char id[SPOOL_ID_MAX];

		/* it stays in the spool, for fsck and people */
		log_spool(true, spool_id_format(found->id, id), err.text);
		return;
	}
	envelope.id = found->id;
	envelope.size = found->body_bytes;
	mend_times(&envelope, queue_wall_ms(queue));
	for (size_t i = 0; i < envelope.recipient_count; i++)
		left += recipient_is_left(&envelope.recipients[i]);
	if (left != 0)
		entry_begin(queue, &envelope, false);
	else
		settled_before(queue, found->id);
	envelope_done(&envelope);
}

static void
on_loaded(void *owner)
{
	struct queue *queue = owner;

	queue->is_loaded = true;
	queue_kick(queue);
	if (queue->events.loaded != NULL)
		queue->events.loaded(queue->owner);
}

static void
on_report(void *owner, bool is_error, const char *file, const char *text)
{
	log_spool(is_error, file, text);
}

static void
on_broken(void *owner)
{
	struct queue *queue = owner;

	if (queue->events.broken != NULL)
		queue->events.broken(queue->owner);
}

const struct spool_callbacks intake_callbacks = {
	.found = on_found,
	.loaded = on_loaded,
	.report = on_report,
	.broken = on_broken,
};

void
intake_tell_orphans(struct queue *queue)
{
	for (;;) {
		struct list *node = list_pop(&queue->orphans);
		struct orphan *orphan;

		if (node == NULL)
			return;
		orphan = container_of(node, struct orphan, link);
		spool_done(queue->spool, orphan->id);
		free(orphan);
	}
}

void
intake_drop_orphans(struct queue *queue)
{
	while (!list_is_empty(&queue->orphans))
		free(container_of(list_pop(&queue->orphans), struct orphan,
				  link));
}
