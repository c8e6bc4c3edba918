/* SPDX-License-Identifier: ISC */
#include "queue/spool/spool.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crc32c.h"
#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/internal.h"
#include "queue/spool/mutant.h"

#define PARCEL_MAX   (320u << 10) /* a parcel is closed above it */
#define SPARE_MAX    4u
#define SPARE_BYTES  (2u << 20) /* larger arenas are given back */
#define DONE_WAIT_MS 20		/* for a batch of DONE records alone */
#define IDS_AHEAD    (1u << 20) /* ids reserved with each batch */
#define SPILL_BYTES  65536u	/* what may go to a file when memory is short */

/* What a put has while it lasts. */
struct put_state {
	struct body *body;   /* shares; NULL once large */
	struct large *large; /* borrows: it ends by itself */
	struct parcel *parcel;
	size_t item; /* there */
	uint32_t crc;
	bool is_ended;
};

/* ------------------------------------------------------------ small ones */

struct segment *
spool_segment(const struct spool *spool, uint32_t slot)
{
	return spool->slots[slot - 1];
}

bool
spool_is_live(const struct entry *entry)
{
	return (entry->flags & (ENTRY_DONE | ENTRY_GONE | ENTRY_DAMAGED)) == 0;
}

void
spool_report(struct spool *spool, bool is_error, const char *file,
	     const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	spool->callbacks.report(spool->owner, is_error, file, text);
}

void
spool_unlist(struct spool *spool, uint32_t handle)
{
	struct entry *entry = index_at(&spool->index, handle);

	if (entry->slot != 0)
		entry_list_remove(&spool->index,
				  &spool_segment(spool, entry->slot)->entries,
				  handle);
}

void
spool_list_by_notes(struct spool *spool, uint32_t handle)
{
	struct entry *entry = index_at(&spool->index, handle);
	struct segment *oldest = NULL;

	for (struct state_note *note = entry->notes; note != NULL;
	     note = note->next) {
		struct segment *segment = spool_segment(spool, note->slot);

		if (oldest == NULL || segment->segno < oldest->segno)
			oldest = segment;
	}
	if (oldest != NULL)
		entry_list_push(&spool->index, &oldest->entries, handle,
				oldest->slot);
}

void
spool_unlink_later(struct spool *spool, uint64_t id)
{
	if (spool->unlink_count == spool->unlink_size) {
		spool->unlink_size = 2 * spool->unlink_size + 64;
		spool->unlinks = mem_resize(spool->unlinks, spool->unlink_size,
					    sizeof(*spool->unlinks));
	}
	spool->unlinks[spool->unlink_count++] = id;
}

void
spool_call_later(struct spool *spool, void (*call)(void *arg, int status),
		 void *arg, int status)
{
	struct later *later = mem_alloc(sizeof(*later));

	later->call = call;
	later->arg = arg;
	later->status = status;
	list_init(&later->link);
	list_push(&spool->later, &later->link);
	(void)uv_async_send(&spool->notify); /* fails only for NULL */
}

static void
drop_body(struct spool *spool, struct entry *entry)
{
	struct body *body = entry->body;

	if (body == NULL)
		return;
	entry->body = NULL;
	if (body->is_counted)
		spool->stats.bodies_bytes -= body->capacity;
	body->is_counted = false;
	body_unref(body);
}

void
spool_drop_entry(struct spool *spool, uint32_t handle)
{
	struct entry *entry = index_at(&spool->index, handle);

	if ((entry->flags & ENTRY_MOVING) != 0 ||
	    (entry->body != NULL && entry->body->pins != 0))
		return;
	if (spool->is_loading && entry->id < spool->first_id)
		return; /* its file may be found yet */
	drop_body(spool, entry);
	index_remove(&spool->index, handle);
}

/* --------------------------------------------------------------- parcels */

static struct parcel *
take_spare(struct spool *spool)
{
	struct list *node = list_pop(&spool->spare);

	if (node == NULL)
		return parcel_new();
	spool->spare_count--;
	return container_of(node, struct parcel, link);
}

static void
put_spare(struct spool *spool, struct parcel *parcel)
{
	parcel_clear(parcel);
	if (spool->spare_count >= SPARE_MAX ||
	    parcel->arena_size > SPARE_BYTES) {
		parcel_free(parcel);
		return;
	}
	spool->spare_count++;
	list_push(&spool->spare, &parcel->link);
}

static void
close_parcel(struct spool *spool)
{
	list_push(&spool->ready, &spool->filling->link);
	spool->filling = take_spare(spool);
}

/* To the committer. */
static void
give_ready(struct spool *spool)
{
	struct list *node;

	list_each (node, &spool->ready)
		spool->in_flight++;
	committer_give(&spool->committer, &spool->ready);
}

static struct parcel_item *
add_record(struct spool *spool, struct record_head *record, const char *text,
	   struct body *body, bool is_urgent)
{
	bool is_grouped = spool->group_depth > 0;
	struct parcel_item *item;

	/* a batch of its own: the disk works while the turn goes on */
	if (!is_grouped && spool->filling->bytes > PARCEL_MAX) {
		close_parcel(spool);
		give_ready(spool);
	}
	if (is_grouped)
		record->flags |= RECORD_MORE;
	item = parcel_add(spool->filling, record, text, body);
	item->is_grouped = is_grouped;
	if (is_urgent)
		spool->filling->is_urgent = true;
	return item;
}

void
spool_group_begin(struct spool *spool)
{
	assert(spool->group_depth == 0);
	/* all of a group in one parcel, and so in one batch */
	if (spool->filling->bytes > PARCEL_MAX)
		close_parcel(spool);
	spool->group_depth = 1;
	spool->group_first = spool->filling->item_count;
}

void
spool_group_end(struct spool *spool)
{
	struct parcel *parcel = spool->filling;

	assert(spool->group_depth == 1);
	spool->group_depth = 0;
	if (parcel->item_count > spool->group_first) {
		struct parcel_item *last =
			&parcel->items[parcel->item_count - 1];

		last->record.flags = 0;
		record_encode(&last->record, parcel->arena + last->header_at);
	}
}

/* The loop's turn ends: all that it brought goes to the committer at once.
 * DONE records alone wait a little for company. */
void
spool_give(struct spool *spool, bool all)
{
	assert(spool->group_depth == 0);
	if (spool->filling->is_urgent ||
	    (all && spool->filling->item_count != 0))
		close_parcel(spool);
	if (list_is_empty(&spool->ready)) {
		if (spool->filling->item_count != 0 &&
		    !uv_is_active((uv_handle_t *)&spool->done_timer))
			(void)uv_timer_start(&spool->done_timer,
					     spool_on_done_timer, DONE_WAIT_MS,
					     0);
		return;
	}
	(void)uv_timer_stop(&spool->done_timer);
	give_ready(spool);
}

void
spool_on_turn_end(uv_prepare_t *handle)
{
	struct spool *spool = handle->data;

	spool_give(spool, false);
	if (spool->unlink_count != 0 && spool->life == SPOOL_OPEN) {
		struct straggler_job *job = mem_zalloc(sizeof(*job));

		list_init(&job->link);
		job->unlinks = spool->unlinks;
		job->unlink_count = spool->unlink_count;
		spool->unlinks = NULL;
		spool->unlink_count = spool->unlink_size = 0;
		straggler_give(&spool->straggler, job);
	}
}

void
spool_on_done_timer(uv_timer_t *handle)
{
	struct spool *spool = handle->data;

	spool_give(spool, true);
}

/* --------------------------------------------------------------- putting */

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

/* The put is over; its owner hears. */
static void
end_put(struct spool_put *put, int status)
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
	end_put(arg, status);
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
	item = add_record(spool, &record, envelope, body, true);
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
	end_put(put, status == -EDQUOT ? -ENOSPC : status);
}

/* ------------------------------------------------------- states and done */

void
spool_state(struct spool *spool, uint64_t id, const char *line,
	    void (*on_saved)(void *arg, int status), void *arg)
{
	uint32_t handle = index_find(&spool->index, id);
	size_t len = strcspn(line, "\n");
	struct record_head record;
	struct parcel_item *item;
	struct entry *entry;
	int status = 0;

	if (spool->is_broken)
		status = -EIO;
	else if (handle == 0 || !spool_is_live(index_at(&spool->index, handle)))
		status = -ENOENT;
	else if (len > FORMAT_TEXT_MAX ||
		 index_at(&spool->index, handle)->states == 0xffffff)
		status = -EMSGSIZE;
	if (status < 0) {
		if (on_saved != NULL)
			spool_call_later(spool, on_saved, arg, status);
		return;
	}
	entry = index_at(&spool->index, handle);
	entry->states = (entry->states + 1) & 0xffffff;
	record = (struct record_head){
		.type = RECORD_STATE,
		.payload = (uint32_t)len,
		.id = id,
		.text_bytes = (uint32_t)len,
		.number = entry->states,
		.text_crc = crc32c(0, line, len),
	};
	item = add_record(spool, &record, line, NULL, true);
	item->on_saved = on_saved;
	item->arg = arg;
}

static void
add_done(struct spool *spool, uint64_t id)
{
	struct record_head record = {.type = RECORD_DONE, .id = id};

	(void)add_record(spool, &record, NULL, NULL, false);
}

void
spool_done(struct spool *spool, uint64_t id)
{
	uint32_t handle = index_find(&spool->index, id);
	struct entry *entry;

	if (handle == 0)
		return;
	entry = index_at(&spool->index, handle);
	if ((entry->flags & (ENTRY_DONE | ENTRY_GONE)) != 0)
		return;
	entry->flags |= ENTRY_DONE;
	spool->stats.messages--;
	if ((entry->flags & ENTRY_IN_FILE) != 0)
		spool->stats.in_files--;
	if (entry->body != NULL && entry->body->pins == 0)
		drop_body(spool, entry);
	add_done(spool, id);
}

/* -------------------------------------------------------------- outcomes */

static void
msg_saved(struct spool *spool, struct segment *segment, struct parcel *parcel,
	  const struct parcel_item *item)
{
	uint32_t handle = index_add(&spool->index, item->record.id);
	struct entry *entry = index_at(&spool->index, handle);
	struct body *body = item->body;

	entry->at = (parcel->start + item->at) / RECORD_ALIGN;
	entry->text_bytes = item->record.text_bytes;
	entry->body_bytes = item->record.payload - item->record.text_bytes;
	entry->body_crc = item->record.body_crc;
	entry_list_push(&spool->index, &segment->entries, handle,
			segment->slot);
	spool->stats.messages++;
	if (spool->stats.bodies_bytes + body->capacity <=
	    spool->opts.memory_bytes) {
		body->refs++;
		body->is_counted = true;
		spool->stats.bodies_bytes += body->capacity;
		entry->body = body;
	}
}

static void
state_saved(struct spool *spool, struct segment *segment,
	    const struct parcel *parcel, const struct parcel_item *item)
{
	uint32_t handle = index_find(&spool->index, item->record.id);
	struct state_note note = {
		.slot = segment->slot,
		.at = parcel->start + item->at,
		.bytes = item->record.text_bytes,
		.number = item->record.number,
	};
	struct entry *entry;

	if (handle == 0)
		return; /* settled meanwhile */
	entry = index_at(&spool->index, handle);
	if ((entry->flags & ENTRY_GONE) != 0)
		return;
	(void)index_note(&spool->index, entry, &note);
	if (entry->slot == 0)
		entry_list_push(&spool->index, &segment->entries, handle,
				segment->slot);
}

static void
done_saved(struct spool *spool, struct segment *segment, uint64_t id)
{
	uint32_t handle = index_find(&spool->index, id);
	struct entry *entry;

	if (handle == 0)
		return; /* of a message whose client went away */
	entry = index_at(&spool->index, handle);
	if ((entry->flags & ENTRY_GONE) != 0)
		return;
	spool_unlist(spool, handle);
	index_drop_notes(&spool->index, entry);
	if ((entry->flags & (ENTRY_IN_FILE | ENTRY_HAS_FILE)) != 0)
		spool_unlink_later(spool, id);
	/* I3: head waits in this segment until the unlink is durable */
	if ((entry->flags & (ENTRY_IN_FILE | ENTRY_HAS_FILE | ENTRY_MOVING)) !=
		    0 &&
	    !MUTANT(UNLINK_FORGOTTEN))
		segment->has_unlinks = true;
	entry->flags = (entry->flags & ENTRY_MOVING) | ENTRY_GONE;
	spool_drop_entry(spool, handle);
}

/* What failed once and nobody was told about is asked for again. */
static void
item_failed(struct spool *spool, struct parcel *parcel,
	    struct parcel_item *item, int status)
{
	struct record_head record = item->record;
	uint32_t handle = index_find(&spool->index, record.id);
	struct entry *entry;

	switch (record.type) {
	case RECORD_MSG:
		if (item->put != NULL)
			end_put(item->put,
				status == -EDQUOT ? -ENOSPC : status);
		return;
	case RECORD_STATE:
		if (item->on_saved != NULL)
			item->on_saved(item->arg, status);
		if (item->on_saved != NULL || item->is_grouped ||
		    spool->is_broken)
			return;
		record.flags = 0;
		(void)add_record(spool, &record,
				 (const char *)parcel->arena + item->header_at +
					 RECORD_HEADER,
				 NULL, false);
		return;
	case RECORD_DONE:
		if (handle == 0)
			return;
		if (!item->is_grouped && !spool->is_broken) {
			add_done(spool, record.id);
			return;
		}
		if (item->is_grouped) {
			entry = index_at(&spool->index, handle);
			entry->flags &= (uint32_t)~ENTRY_DONE & 0xff;
			spool->stats.messages++;
			if ((entry->flags & ENTRY_IN_FILE) != 0)
				spool->stats.in_files++;
		}
		return;
	}
}

static void
item_saved(struct spool *spool, struct segment *segment, struct parcel *parcel,
	   struct parcel_item *item)
{
	struct spool_put *put = item->put;

	switch (item->record.type) {
	case RECORD_MSG:
		if (item->is_aborted) {
			add_done(spool, item->record.id);
			return;
		}
		msg_saved(spool, segment, parcel, item);
		end_put(put, 0);
		return;
	case RECORD_STATE:
		state_saved(spool, segment, parcel, item);
		if (item->on_saved != NULL)
			item->on_saved(item->arg, 0);
		return;
	case RECORD_DONE:
		done_saved(spool, segment, item->record.id);
		return;
	}
}

static void
tell_failure(struct spool *spool, const struct batch *batch)
{
	bool is_broken;

	spool->stats.sync_errors++;
	pthread_mutex_lock(&spool->committer.lock);
	is_broken = spool->committer.is_broken;
	pthread_mutex_unlock(&spool->committer.lock);
	if (!spool->is_silent)
		spool_report(spool, true, "log", "a commit failed: %s",
			     strerror(-batch->status));
	spool->is_silent = true;
	if (is_broken && !spool->is_broken) {
		spool->is_broken = true;
		spool_report(spool, true, "log",
			     "two commits in a row failed: no more mail is "
			     "accepted");
		spool->callbacks.broken(spool->owner);
	}
}

static void
take_batch(struct spool *spool, struct batch *batch)
{
	struct list *node, *after;

	if (batch->segment != NULL)
		keep_first_seen(spool, batch->segment);
	if (batch->status == 0) {
		spool->stats.commits++;
		spool->current_end = batch->end;
		spool->is_silent = false;
		if (batch->head > spool->durable_head)
			spool->durable_head = batch->head;
	} else {
		tell_failure(spool, batch);
	}
	list_each_safe (node, after, &batch->parcels) {
		struct parcel *parcel = container_of(node, struct parcel, link);

		list_remove(node);
		spool->in_flight--;
		for (size_t i = 0; i < parcel->item_count; i++) {
			if (batch->status == 0)
				item_saved(spool, batch->segment, parcel,
					   &parcel->items[i]);
			else
				item_failed(spool, parcel, &parcel->items[i],
					    batch->status);
		}
		spool->stats.commit_records += parcel->item_count;
		put_spare(spool, parcel);
	}
	free(batch);
}

static void
call_later_ones(struct spool *spool)
{
	struct later last = {.arg = NULL}; /* as forget_later may meet it */

	/* those that come while we call wait for the next turn */
	list_init(&last.link);
	list_push(&spool->later, &last.link);
	while (true) {
		struct list *node = list_pop(&spool->later);
		struct later *later;

		if (node == &last.link)
			break;
		later = container_of(node, struct later, link);
		later->call(later->arg, later->status);
		free(later);
	}
	if (!list_is_empty(&spool->later))
		(void)uv_async_send(&spool->notify); /* cannot fail */
}

static void
move_list(struct list *from, struct list *to, pthread_mutex_t *lock)
{
	struct list *node, *after;

	pthread_mutex_lock(lock);
	list_each_safe (node, after, from) {
		list_remove(node);
		list_push(to, node);
	}
	pthread_mutex_unlock(lock);
}

void
spool_on_notify(uv_async_t *handle)
{
	struct spool *spool = handle->data;
	struct list batches, jobs, *node;

	list_init(&batches);
	list_init(&jobs);
	move_list(&spool->committer.done, &batches, &spool->committer.lock);
	move_list(&spool->straggler.done, &jobs, &spool->straggler.lock);
	for (node = list_pop(&batches); node != NULL; node = list_pop(&batches))
		take_batch(spool, container_of(node, struct batch, link));
	for (node = list_pop(&jobs); node != NULL; node = list_pop(&jobs))
		keep_straggler(spool,
			       container_of(node, struct straggler_job, link));
	call_later_ones(spool);
	spool_go_on(spool);
}

/* --------------------------------------------------------------- bodies */

static struct entry *
find_with_body(struct spool *spool, uint64_t id, uint32_t *out_handle)
{
	uint32_t handle = index_find(&spool->index, id);

	*out_handle = handle;
	if (handle == 0 || index_at(&spool->index, handle)->body == NULL)
		return NULL;
	return index_at(&spool->index, handle);
}

const uint8_t *
spool_body(struct spool *spool, uint64_t id, size_t *out_len)
{
	uint32_t handle;
	struct entry *entry = find_with_body(spool, id, &handle);

	if (entry == NULL)
		return NULL;
	*out_len = entry->body->bytes;
	return entry->body->data;
}

void
spool_pin(struct spool *spool, uint64_t id)
{
	uint32_t handle;
	struct entry *entry = find_with_body(spool, id, &handle);

	if (entry != NULL)
		entry->body->pins++;
}

void
spool_unpin(struct spool *spool, uint64_t id)
{
	uint32_t handle;
	struct entry *entry = find_with_body(spool, id, &handle);

	if (entry == NULL || entry->body->pins == 0 || --entry->body->pins != 0)
		return;
	if (entry->body->is_forgotten || !spool_is_live(entry))
		drop_body(spool, entry);
	if ((entry->flags & ENTRY_GONE) != 0)
		spool_drop_entry(spool, handle);
}

void
spool_forget_body(struct spool *spool, uint64_t id)
{
	uint32_t handle;
	struct entry *entry = find_with_body(spool, id, &handle);

	if (entry == NULL)
		return;
	entry->body->is_forgotten = true;
	if (entry->body->pins == 0)
		drop_body(spool, entry);
}

/* ------------------------------------------------------------- questions */

bool
spool_is_short(const struct spool *spool)
{
	return spool->is_short || spool->is_full || spool->cannot_move;
}

bool
spool_is_broken(const struct spool *spool)
{
	return spool->is_broken;
}

void
spool_stats(const struct spool *spool, struct spool_stats *out)
{
	struct list *node;

	*out = spool->stats;
	out->in_log = out->messages - out->in_files;
	for (uint32_t i = 0; i < spool->slot_count; i++)
		if (spool->slots[i] != NULL)
			out->segments++;
	for (node = spool->used.next; node != &spool->used; node = node->next)
		out->segments_free++;
	out->segments_free = out->segments - out->segments_free;
	out->log_bytes = spool->log_bytes;
	out->index_bytes = index_bytes(&spool->index);
	out->disk_free = spool->disk_free;
}
