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
#include "queue/spool/internal.h"

#define SPARE_MAX    4u
#define SPARE_BYTES  (2u << 20) /* larger arenas are given back */
#define DONE_WAIT_MS 20		/* for a batch of DONE records alone */

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

	for (uint32_t i = 0; i < entry_note_count(entry); i++) {
		struct segment *segment =
			spool_segment(spool, entry->notes->each[i].slot);

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

struct straggler_job *
spool_take_unlinks(struct spool *spool)
{
	struct straggler_job *job = mem_zalloc(sizeof(*job));

	list_init(&job->link);
	job->unlinks = spool->unlinks;
	job->unlink_count = spool->unlink_count;
	spool->unlinks = NULL;
	spool->unlink_count = spool->unlink_size = 0;
	return job;
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

void
spool_spare_parcel(struct spool *spool, struct parcel *parcel)
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
give_ready(struct spool *spool, bool is_more_coming)
{
	struct list *node;

	list_each (node, &spool->ready)
		spool->in_flight++;
	spool->is_ahead = spool->is_awaited = is_more_coming;
	committer_give(&spool->committer, &spool->ready, is_more_coming);
}

/* Much that a turn brings is written while it goes on: by its end the
 * committer is awake and most is copied, which takes as long as the turn
 * where bytes have to come from another processor. The first part is small,
 * to begin early; those behind it are larger, for each is also a request to
 * the disk. */
static void
give_ahead(struct spool *spool)
{
	size_t part = spool->opts.ahead_bytes;

	if (spool->filling->bytes < (spool->is_ahead ? 2 * part : part))
		return;
	close_parcel(spool);
	give_ready(spool, true);
}

void
spool_give_parcel(struct spool *spool, struct parcel *parcel)
{
	list_push(&spool->ready, &parcel->link);
	give_ready(spool, true);
}

struct parcel_item *
spool_add_record(struct spool *spool, struct record_head *record,
		 const char *text, struct body *body, bool is_urgent)
{
	bool is_grouped = spool->group_depth > 0;
	struct parcel_item *item;

	if (!is_grouped)
		give_ahead(spool);
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
	give_ahead(spool);
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
	    ((all || spool->is_ahead) && spool->filling->item_count != 0))
		close_parcel(spool);
	if (spool->settled_count != 0 && (all || !full_is_scarce(spool)))
		full_give(spool);
	if (!list_is_empty(&spool->ready) || spool->is_ahead)
		(void)uv_timer_stop(&spool->done_timer);
	else if ((spool->filling->item_count != 0 || spool->has_settled) &&
		 !uv_is_active((uv_handle_t *)&spool->done_timer))
		(void)uv_timer_start(&spool->done_timer, spool_on_done_timer,
				     DONE_WAIT_MS, 0);
	if (!list_is_empty(&spool->ready) || spool->is_awaited)
		give_ready(spool, false);
}

void
spool_on_turn_end(uv_prepare_t *handle)
{
	struct spool *spool = handle->data;

	spool_give(spool, false);
	if (spool->unlink_count != 0 && spool->life == SPOOL_OPEN)
		straggler_give(&spool->straggler, spool_take_unlinks(spool));
}

void
spool_on_done_timer(uv_timer_t *handle)
{
	struct spool *spool = handle->data;

	spool_give(spool, true);
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
	item = spool_add_record(spool, &record, line, NULL, true);
	item->on_saved = on_saved;
	item->arg = arg;
}

void
spool_add_done(struct spool *spool, uint64_t id)
{
	struct record_head record = {.type = RECORD_DONE, .id = id};

	if (spool->group_depth == 0 && full_is_scarce(spool)) {
		full_add(spool, id);
		return;
	}
	(void)spool_add_record(spool, &record, NULL, NULL, false);
	spool->dones++;
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
	spool_add_done(spool, id);
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

void
spool_set_free(struct spool *spool, uint64_t bytes)
{
	spool->opts.free_bytes = bytes;
	spool->is_short = spool->disk_free < bytes;
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
