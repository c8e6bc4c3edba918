/* SPDX-License-Identifier: ISC */
/* Messages on their way in, until they are durable, refused or given up. */
#include "queue/spool/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crc32c.h"
#include "lib/mem.h"

#define IDS_AHEAD   (1u << 20) /* ids reserved with each batch */
#define SPILL_BYTES 65536u     /* what may go to a file when memory is short */

/* What a put has while it lasts. */
struct put_state {
	struct body *body;   /* shares; NULL once large */
	struct large *large; /* borrows: it ends by itself */
	struct parcel *parcel;
	size_t item; /* there */
	uint32_t crc;
	bool is_ended;
};

static void
reserve_ids(struct spool *spool)
{
	struct committer *committer = &spool->committer;

	/* Every batch carries the reserve; only half a million puts without
	 * one commit between them make this one necessary. */
	if (spool->next_id + IDS_AHEAD / 2 < spool->ids_reserved)
		return;
	spool->ids_reserved = spool->next_id + IDS_AHEAD;
	pthread_mutex_lock(&committer->lock);
	committer->ids = spool->ids_reserved;
	pthread_mutex_unlock(&committer->lock);
	spool->filling->is_urgent = true;
}

void
spool_put_begin(struct spool *spool, struct spool_put *put)
{
	struct put_state *state = mem_zalloc(sizeof(*state));

	put->spool = spool;
	put->id = spool->next_id++;
	put->priv = state;
	state->body = body_new(&spool->bodies);
	reserve_ids(spool);
}

static void
drop_put_body(struct spool *spool, struct put_state *state)
{
	if (state->body == NULL)
		return;
	if (!state->is_ended)
		spool->put_bytes -= state->body->capacity;
	body_unref(state->body);
	state->body = NULL;
}

/* Too large for memory, or memory is short and this is not small. */
static bool
goes_to_file(const struct spool *spool, const struct body *body, size_t len)
{
	if (body->bytes + len > spool->opts.large_bytes)
		return true;
	return spool->group_depth == 0 &&
	       spool->put_bytes + len > spool->opts.memory_bytes &&
	       body->bytes + len > SPILL_BYTES;
}

bool
spool_put_data(struct spool_put *put, const void *bytes, size_t len)
{
	struct put_state *state = put->priv;
	struct spool *spool = put->spool;
	struct body *body = state->body;

	if (state->large != NULL)
		return large_data(state->large, bytes, len);
	if (goes_to_file(spool, body, len)) {
		state->large = large_new(spool, put->id, put);
		(void)large_data(state->large, body->data, body->bytes);
		drop_put_body(spool, state);
		return large_data(state->large, bytes, len);
	}
	spool->put_bytes -= body->capacity;
	body_reserve(body, len);
	spool->put_bytes += body->capacity;
	if (len != 0)
		memcpy(body->data + body->bytes, bytes, len);
	body->bytes += len;
	state->crc = crc32c(state->crc, bytes, len);
	return false;
}

bool
spool_put_is_large(const struct spool_put *put)
{
	const struct put_state *state = put->priv;

	return state->large != NULL;
}

void
spool_end_put(struct spool_put *put, int status)
{
	struct put_state *state = put->priv;

	drop_put_body(put->spool, state);
	free(state);
	put->spool = NULL;
	put->priv = NULL;
	put->on_end(put->owner, status);
}

static void
on_put_failed(void *arg, int status)
{
	spool_end_put(arg, status);
}

void
spool_put_end(struct spool_put *put, const char *envelope)
{
	struct put_state *state = put->priv;
	struct spool *spool = put->spool;
	size_t text_bytes = strlen(envelope);
	struct record_head record;
	struct parcel_item *item;
	struct body *body = state->body;
	int status = 0;

	if (spool->is_broken)
		status = -EIO;
	else if (text_bytes > FORMAT_TEXT_MAX)
		status = -EMSGSIZE;
	else if (spool->is_full && spool->group_depth == 0)
		status = -ENOSPC;
	if (status == 0 && state->large != NULL) {
		state->is_ended = true;
		large_end(state->large, envelope);
		return;
	}
	if (status < 0) {
		if (state->large != NULL)
			large_abort(state->large);
		state->large = NULL;
		drop_put_body(spool, state);
		state->is_ended = true;
		spool_call_later(spool, on_put_failed, put, status);
		return;
	}
	spool->put_bytes -= body->capacity;
	state->is_ended = true;
	body_close_up(body);
	record = (struct record_head){
		.type = RECORD_MSG,
		.payload = (uint32_t)(text_bytes + body->bytes),
		.id = put->id,
		.text_bytes = (uint32_t)text_bytes,
		.text_crc = crc32c(0, envelope, text_bytes),
		.body_crc = state->crc,
	};
	item = spool_add_record(spool, &record, envelope, body, true);
	item->put = put;
	state->parcel = spool->filling;
	state->item = spool->filling->item_count - 1;
}

static void
forget_later(struct spool *spool, void *arg)
{
	struct list *node, *after;

	list_each_safe (node, after, &spool->later) {
		struct later *later = container_of(node, struct later, link);

		if (later->arg != arg)
			continue;
		list_remove(node);
		free(later);
	}
}

void
spool_put_abort(struct spool_put *put)
{
	struct put_state *state = put->priv;

	if (put->spool == NULL)
		return;
	if (state->parcel != NULL) {
		/* on its way: it gets a DONE record behind it */
		state->parcel->items[state->item].put = NULL;
		state->parcel->items[state->item].is_aborted = true;
	} else if (state->large != NULL) {
		large_abort(state->large);
	} else if (state->is_ended) {
		forget_later(put->spool, put);
	}
	drop_put_body(put->spool, state);
	free(state);
	put->spool = NULL;
	put->priv = NULL;
}

void
large_ended(struct spool *spool, struct spool_put *put, int status,
	    const struct file_head *head)
{
	struct put_state *state = put->priv;

	state->large = NULL;
	if (status == 0) {
		struct entry *entry =
			index_at(&spool->index,
				 index_add(&spool->index, head->id));

		entry->flags = ENTRY_IN_FILE;
		if (spool->is_loading)
			entry->flags |= ENTRY_FOUND;
		entry->text_bytes = head->text_bytes;
		entry->body_bytes = head->body_bytes;
		entry->body_crc = head->body_crc;
		spool->stats.messages++;
		spool->stats.in_files++;
	} else {
		spool->stats.sync_errors++;
		spool_report(spool, true, "tmp",
			     "a large message cannot be written: %s",
			     strerror(-status));
	}
	spool_end_put(put, status == -EDQUOT ? -ENOSPC : status);
}
