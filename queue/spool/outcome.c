/* SPDX-License-Identifier: ISC */
/* What became of that which was given away: batches, files, late calls. */
#include "queue/spool/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/spool/mutant.h"

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

	if (item->is_copy) {
		copy_failed(spool, status);
		return;
	}
	switch (record.type) {
	case RECORD_MSG:
		if (item->put != NULL)
			spool_end_put(item->put,
				      status == -EDQUOT ? -ENOSPC : status);
		return;
	case RECORD_STATE:
		spool->states_again -= item->is_again;
		if (item->on_saved != NULL)
			item->on_saved(item->arg, status);
		if (item->on_saved != NULL || item->is_grouped ||
		    spool->is_broken)
			return;
		record.flags = 0;
		spool_add_record(spool, &record,
				 (const char *)parcel->arena + item->header_at +
					 RECORD_HEADER,
				 NULL, false)
			->is_again = true;
		spool->states_again++;
		return;
	case RECORD_DONE:
		if (item->is_again) {
			retire_forwarded(spool, NULL, status);
			return;
		}
		spool->dones--;
		if (handle == 0)
			return;
		if (!item->is_grouped && !spool->is_broken) {
			spool_add_done(spool, record.id);
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

	if (item->is_copy) {
		copy_saved(spool, segment, parcel, item);
		return;
	}
	switch (item->record.type) {
	case RECORD_MSG:
		if (item->is_aborted) {
			spool_add_done(spool, item->record.id);
			return;
		}
		msg_saved(spool, segment, parcel, item);
		spool_end_put(put, 0);
		return;
	case RECORD_STATE:
		spool->states_again -= item->is_again;
		state_saved(spool, segment, parcel, item);
		if (item->on_saved != NULL)
			item->on_saved(item->arg, 0);
		return;
	case RECORD_DONE:
		if (item->is_again) {
			retire_forwarded(spool, segment, 0);
			return;
		}
		spool->dones--;
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
	if (batch->status != spool->commit_told)
		spool_report(spool, true, "log", "a commit failed: %s",
			     strerror(-batch->status));
	spool->commit_told = batch->status;
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
		/* DONE records find room in a log that is full */
		if (!spool->is_full || spool->commit_told != -ENOSPC)
			spool->commit_told = 0;
		if (batch->head > spool->durable_head)
			spool->durable_head = batch->head;
	} else if (batch->status != -ECANCELED) {
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
		spool_spare_parcel(spool, parcel);
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
	/* the committer waits for what those bring who waited for these */
	if (!list_is_empty(&batches))
		spool->is_awaited = true;
	for (node = list_pop(&batches); node != NULL; node = list_pop(&batches))
		take_batch(spool, container_of(node, struct batch, link));
	for (node = list_pop(&jobs); node != NULL; node = list_pop(&jobs))
		retire_ended(spool,
			     container_of(node, struct straggler_job, link));
	call_later_ones(spool);
	spool_go_on(spool);
}
