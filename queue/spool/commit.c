/* SPDX-License-Identifier: ISC */
#include "queue/spool/commit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "lib/mem.h"
#include "queue/spool/body.h"
#include "queue/spool/disk.h"
#include "queue/spool/mutant.h"

#define BATCH_MAX (16u << 20) /* records of one batch, if not one parcel */
#define COPY_MAX  2048u	      /* smaller bodies are copied, not referred to */

static const uint8_t zeros[FORMAT_BLOCK];

/* --------------------------------------------------------------- parcels */

struct parcel *
parcel_new(void)
{
	struct parcel *parcel = mem_zalloc(sizeof(*parcel));

	list_init(&parcel->link);
	return parcel;
}

void
parcel_clear(struct parcel *parcel)
{
	for (size_t i = 0; i < parcel->item_count; i++)
		body_unref(parcel->items[i].body);
	parcel->arena_len = parcel->piece_count = parcel->item_count = 0;
	parcel->bytes = 0;
	parcel->is_urgent = parcel->is_copy = false;
}

void
parcel_free(struct parcel *parcel)
{
	if (parcel == NULL)
		return;
	parcel_clear(parcel);
	free(parcel->arena);
	free(parcel->pieces);
	free(parcel->items);
	free(parcel);
}

/* Room in the arena, which joins the piece before when that is there too. */
static uint8_t *
arena_take(struct parcel *parcel, size_t len)
{
	struct parcel_piece *last =
		parcel->piece_count != 0
			? &parcel->pieces[parcel->piece_count - 1]
			: NULL;
	size_t at = parcel->arena_len;

	if (parcel->arena_size - at < len) {
		parcel->arena_size = 2 * (at + len) + 16384;
		parcel->arena =
			mem_resize(parcel->arena, parcel->arena_size, 1);
	}
	parcel->arena_len += len;
	parcel->bytes += len;
	if (last != NULL && last->bytes == NULL) {
		last->len += (uint32_t)len;
		return parcel->arena + at;
	}
	if (parcel->piece_count == parcel->piece_size) {
		parcel->piece_size = 2 * parcel->piece_size + 64;
		parcel->pieces = mem_resize(parcel->pieces, parcel->piece_size,
					    sizeof(*parcel->pieces));
	}
	parcel->pieces[parcel->piece_count++] =
		(struct parcel_piece){.at = (uint32_t)at, .len = (uint32_t)len};
	return parcel->arena + at;
}

static void
add_body(struct parcel *parcel, const struct body *body)
{
	if (body->bytes < COPY_MAX) {
		if (body->bytes != 0)
			memcpy(arena_take(parcel, body->bytes), body->data,
			       body->bytes);
		return;
	}
	if (parcel->piece_count == parcel->piece_size) {
		parcel->piece_size = 2 * parcel->piece_size + 64;
		parcel->pieces = mem_resize(parcel->pieces, parcel->piece_size,
					    sizeof(*parcel->pieces));
	}
	parcel->pieces[parcel->piece_count++] =
		(struct parcel_piece){.bytes = body->data,
				      .len = (uint32_t)body->bytes};
	parcel->bytes += body->bytes;
}

struct parcel_item *
parcel_add(struct parcel *parcel, const struct record_head *record,
	   const char *text, struct body *body)
{
	size_t at = parcel->bytes;
	size_t pad = record_bytes(record) - RECORD_HEADER - record->payload;
	struct parcel_item *item;
	uint8_t *header =
		arena_take(parcel, RECORD_HEADER + record->text_bytes);

	if (parcel->item_count == parcel->item_size) {
		parcel->item_size = 2 * parcel->item_size + 64;
		parcel->items = mem_resize(parcel->items, parcel->item_size,
					   sizeof(*parcel->items));
	}
	item = &parcel->items[parcel->item_count++];
	*item = (struct parcel_item){
		.record = *record,
		.header_at = (uint32_t)(header - parcel->arena),
		.at = (uint32_t)at,
	};
	record_encode(record, header);
	if (record->text_bytes != 0)
		memcpy(header + RECORD_HEADER, text, record->text_bytes);
	if (body != NULL) {
		body->refs++;
		item->body = body;
		add_body(parcel, body);
	}
	if (pad != 0)
		memset(arena_take(parcel, pad), 0, pad);
	return item;
}

/* ------------------------------------------------------------- one batch */

static struct batch *
batch_new(const struct committer *committer)
{
	struct batch *batch = mem_zalloc(sizeof(*batch));

	list_init(&batch->link);
	list_init(&batch->parcels);
	batch->seq = committer->seq;
	return batch;
}

static uint32_t
batch_bytes(size_t records)
{
	return (uint32_t)((BATCH_HEADER + records + FORMAT_BLOCK - 1) &
			  ~(size_t)(FORMAT_BLOCK - 1));
}

static void
add_iov(struct committer *committer, size_t *count, const uint8_t *bytes,
	size_t len)
{
	if (*count == committer->iov_size) {
		committer->iov_size = 2 * committer->iov_size + 256;
		committer->iov = mem_resize(committer->iov, committer->iov_size,
					    sizeof(*committer->iov));
	}
	committer->iov[(*count)++] =
		(struct iovec){(void *)(uintptr_t)bytes, len};
}

/* Ties every record of the parcel to its place; returns how many. */
static uint32_t
seal_parcel(struct parcel *parcel, const struct record_place *place)
{
	for (size_t i = 0; i < parcel->item_count; i++) {
		record_seal(parcel->arena + parcel->items[i].header_at, place);
	}
	return (uint32_t)parcel->item_count;
}

/*
 * Writes the batch to the current segment and syncs it.
 *
 * I1: status 0 is given only after fdatasync returned 0. I5: when anything
 * failed, the segment is never written again and the next batch has the same
 * seq in a later segment, by which recovery knows this one to be void. Only
 * a write that found no room leaves the segment usable: no sync was asked
 * for, and the next batch overwrites the same place.
 */
static void
batch_write(struct committer *committer, struct batch *batch, uint64_t ids)
{
	uint8_t header[BATCH_HEADER] = {0};
	struct batch_head head = {
		.tag = committer->tag,
		.segno = committer->current->segno,
		.seq = committer->seq,
		.head = batch->head,
		.ids = ids,
	};
	struct record_place place = {head.tag, head.segno, head.seq};
	size_t records = 0, count = 0;
	struct list *node;

	batch->segment = committer->current;
	batch->seq = committer->seq;
	add_iov(committer, &count, header, BATCH_HEADER);
	list_each (node, &batch->parcels) {
		struct parcel *parcel = container_of(node, struct parcel, link);

		parcel->start =
			(uint32_t)(committer->offset + BATCH_HEADER + records);
		head.records += seal_parcel(parcel, &place);
		records += parcel->bytes;
		for (size_t i = 0; i < parcel->piece_count; i++) {
			const struct parcel_piece *piece = &parcel->pieces[i];

			add_iov(committer, &count,
				piece->bytes != NULL
					? piece->bytes
					: parcel->arena + piece->at,
				piece->len);
		}
	}
	head.used = (uint32_t)(BATCH_HEADER + records);
	head.bytes = batch_bytes(records);
	if (head.bytes != head.used)
		add_iov(committer, &count, zeros, head.bytes - head.used);
	batch_encode(&head, header);

	batch->status = disk_writev(committer->current->fd, committer->iov,
				    count, committer->offset);
	if (batch->status == -ENOSPC || batch->status == -EDQUOT)
		return;
	if (batch->status == 0 && !MUTANT(BATCH_UNSYNCED))
		batch->status = disk_datasync(committer->current->fd);
	if (batch->status < 0 && MUTANT(SYNC_AGAIN))
		batch->status = disk_datasync(committer->current->fd);
	if (batch->status < 0 && MUTANT(FAILURE_IGNORED))
		batch->status = 0;
	if (batch->status < 0) {
		committer->current->is_tainted = true;
		committer->current = NULL;
		committer->failures++;
		return;
	}
	committer->failures = 0;
	committer->offset += head.bytes;
	batch->end = committer->offset;
	committer->seq++;
	committer->stamped = batch->head;
}

/* ------------------------------------------------------------ the thread */

/* Each segment keeps one block back, so that a batch that only moves head can
 * be written when there is no other segment, and thereby make one free. */
static uint32_t
room(const struct committer *committer)
{
	uint32_t kept = committer->is_last ? 0 : FORMAT_BLOCK, left;

	if (committer->current == NULL)
		return 0;
	left = committer->current->bytes - committer->offset;
	return left > kept ? left - kept : 0;
}

/* Goes on to a free segment of enough bytes; false: there is none. */
static bool
rotate(struct committer *committer, uint32_t need)
{
	struct list *node;

	list_each (node, &committer->segments) {
		struct segment *segment =
			container_of(node, struct segment, link);

		if (segment->bytes < need + FORMAT_BLOCK)
			continue;
		list_remove(node);
		committer->free_count--;
		committer->wanted = 0;
		committer->is_stranded = committer->is_giving_up = false;
		segment->segno = committer->next_segno++;
		committer->current = segment;
		committer->offset = 0;
		return true;
	}
	return false;
}

static void
give_back(struct committer *committer, struct batch *batch)
{
	list_push(&committer->done, &batch->link);
	(void)uv_async_send(committer->notify); /* fails only for NULL */
}

/* With the lock held; gives it up while the disk works. */
static void
write_unlocked(struct committer *committer, struct batch *batch)
{
	uint64_t ids = committer->ids;

	batch->head = committer->head;
	if (batch->head > committer->current->segno)
		batch->head = committer->current->segno;
	pthread_mutex_unlock(&committer->lock);
	batch->took_ns = uv_hrtime();
	batch_write(committer, batch, ids);
	batch->took_ns = uv_hrtime() - batch->took_ns;
	pthread_mutex_lock(&committer->lock);
	if (committer->failures >= 2)
		committer->is_broken = true;
	give_back(committer, batch);
}

static void
fail_queue(struct committer *committer, int status)
{
	struct batch *batch = batch_new(committer);
	struct list *node;

	committer->wanted = 0;
	while (true) {
		node = list_pop(&committer->queue);
		if (node == NULL)
			break;
		list_push(&batch->parcels, node);
	}
	batch->status = status;
	give_back(committer, batch);
}

/* Nothing free: says what is wanted, moves head if that can help, waits. */
static void
wait_for_segment(struct committer *committer, uint32_t need)
{
	struct segment *current = committer->current;

	if (current != NULL && committer->head > committer->stamped &&
	    current->bytes - committer->offset >= FORMAT_BLOCK) {
		write_unlocked(committer, batch_new(committer));
		/* what it lets go may help: the loop says it once more */
		committer->is_giving_up = false;
		return;
	}
	if (committer->is_giving_up) {
		committer->is_giving_up = false;
		fail_queue(committer, -ENOSPC);
		return;
	}
	if (committer->wanted == 0)
		(void)uv_async_send(committer->notify); /* cannot fail */
	committer->wanted = need + FORMAT_BLOCK;
	committer->is_stranded = current == NULL;
	pthread_cond_wait(&committer->wake, &committer->lock);
}

/* Joins the parcels that fit; the first one always does. */
static struct batch *
collect(struct committer *committer)
{
	struct batch *batch = batch_new(committer);
	uint32_t fits = room(committer);
	size_t bytes = 0;

	while (!list_is_empty(&committer->queue)) {
		struct list *node = committer->queue.next;
		struct parcel *parcel = container_of(node, struct parcel, link);

		if (bytes != 0 && (bytes + parcel->bytes > BATCH_MAX ||
				   batch_bytes(bytes + parcel->bytes) > fits))
			break;
		bytes += parcel->bytes;
		list_remove(node);
		list_push(&batch->parcels, node);
	}
	return batch;
}

static void *
run(void *arg)
{
	struct committer *committer = arg;

	pthread_mutex_lock(&committer->lock);
	while (true) {
		struct list *node = committer->queue.next;
		uint32_t need;

		if (node == &committer->queue) {
			if (committer->is_stopping)
				break;
			pthread_cond_wait(&committer->wake, &committer->lock);
			continue;
		}
		if (committer->is_broken) {
			fail_queue(committer, -EIO);
			continue;
		}
		need = batch_bytes(
			container_of(node, struct parcel, link)->bytes);
		if (need > room(committer) && !rotate(committer, need)) {
			wait_for_segment(committer, need);
			continue;
		}
		write_unlocked(committer, collect(committer));
	}
	pthread_mutex_unlock(&committer->lock);
	return NULL;
}

/* ------------------------------------------------------------- from loop */

void
committer_init(struct committer *committer, uv_async_t *notify)
{
	*committer = (struct committer){.notify = notify,
					.seq = 1,
					.next_segno = 1,
					.head = 1};
	pthread_mutex_init(&committer->lock, NULL);
	pthread_cond_init(&committer->wake, NULL);
	list_init(&committer->queue);
	list_init(&committer->done);
	list_init(&committer->segments);
}

int
committer_start(struct committer *committer)
{
	int rc = pthread_create(&committer->thread, NULL, run, committer);

	committer->is_started = rc == 0;
	return -rc;
}

void
committer_stop(struct committer *committer)
{
	if (!committer->is_started)
		return;
	pthread_mutex_lock(&committer->lock);
	committer->is_stopping = true;
	pthread_cond_signal(&committer->wake);
	pthread_mutex_unlock(&committer->lock);
	(void)pthread_join(committer->thread, NULL); /* it was started */
	committer->is_started = false;
}

void
committer_done(struct committer *committer)
{
	assert(!committer->is_started);
	free(committer->iov);
	pthread_cond_destroy(&committer->wake);
	pthread_mutex_destroy(&committer->lock);
}

void
committer_give(struct committer *committer, struct list *parcels)
{
	struct list *node, *after;

	pthread_mutex_lock(&committer->lock);
	list_each_safe (node, after, parcels) {
		list_remove(node);
		list_push(&committer->queue, node);
	}
	pthread_cond_signal(&committer->wake);
	pthread_mutex_unlock(&committer->lock);
}

void
committer_fail_copies(struct committer *committer)
{
	struct batch *batch = mem_zalloc(sizeof(*batch));
	struct list *node, *after;

	list_init(&batch->link);
	list_init(&batch->parcels);
	batch->status = -ECANCELED;
	pthread_mutex_lock(&committer->lock);
	list_each_safe (node, after, &committer->queue) {
		if (!container_of(node, struct parcel, link)->is_copy)
			continue;
		list_remove(node);
		list_push(&batch->parcels, node);
	}
	if (!list_is_empty(&batch->parcels)) {
		give_back(committer, batch);
		batch = NULL;
	}
	pthread_mutex_unlock(&committer->lock);
	free(batch); /* none waited */
}

void
committer_add_segment(struct committer *committer, struct segment *segment)
{
	pthread_mutex_lock(&committer->lock);
	list_push(&committer->segments, &segment->link);
	committer->free_count++;
	pthread_cond_signal(&committer->wake);
	pthread_mutex_unlock(&committer->lock);
}

void
committer_use_last(struct committer *committer)
{
	pthread_mutex_lock(&committer->lock);
	committer->is_last = true;
	pthread_cond_signal(&committer->wake);
	pthread_mutex_unlock(&committer->lock);
}

int
committer_first(struct committer *committer, struct batch **out)
{
	struct batch *batch = batch_new(committer);

	if (!rotate(committer, FORMAT_BLOCK)) {
		free(batch);
		return -ENOSPC;
	}
	batch->head = committer->head;
	batch_write(committer, batch, committer->ids);
	*out = batch;
	return batch->status;
}
