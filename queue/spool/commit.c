/* SPDX-License-Identifier: ISC */
#include "queue/spool/commit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "lib/mem.h"
#include "queue/spool/body.h"
#include "queue/spool/disk.h"
#include "queue/spool/mutant.h"

#define BATCH_MAX	(16u << 20) /* records of one batch, if not one parcel */
#define COPY_MAX	2048u /* smaller bodies are copied, not referred to */
#define FIRST_COMMIT_NS 1000000u /* as long as none was timed */

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
	parcel->is_urgent = parcel->is_copy = parcel->is_more = false;
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
	if (record->type != RECORD_DONE)
		parcel->is_more = true;
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
add_iov(struct committer *committer, const uint8_t *bytes, size_t len)
{
	if (committer->iov_count == committer->iov_size) {
		committer->iov_size = 2 * committer->iov_size + 256;
		committer->iov = mem_resize(committer->iov, committer->iov_size,
					    sizeof(*committer->iov));
	}
	committer->iov[committer->iov_count++] =
		(struct iovec){(void *)(uintptr_t)bytes, len};
	committer->unwritten += len;
}

/* Of the batch that is being written: what fills its first block is copied
 * there, because that is written last. */
static void
add_bytes(struct committer *committer, const uint8_t *bytes, size_t len)
{
	size_t left = FORMAT_BLOCK - committer->first_len;
	size_t part = len < left ? len : left;

	if (part != 0)
		memcpy(committer->first + committer->first_len, bytes, part);
	committer->first_len += part;
	if (len > part)
		add_iov(committer, bytes + part, len - part);
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

/* Behind the records that the batch has. */
static void
add_parcel(struct committer *committer, struct batch *batch,
	   struct parcel *parcel)
{
	struct record_place place = {committer->tag, batch->segment->segno,
				     batch->seq};

	parcel->start = committer->offset + BATCH_HEADER + batch->bytes;
	batch->records += seal_parcel(parcel, &place);
	batch->bytes += (uint32_t)parcel->bytes;
	for (size_t i = 0; i < parcel->piece_count; i++) {
		const struct parcel_piece *piece = &parcel->pieces[i];

		add_bytes(committer,
			  piece->bytes != NULL ? piece->bytes
					       : parcel->arena + piece->at,
			  piece->len);
	}
	list_push(&batch->parcels, &parcel->link);
}

/* Takes the last bytes off what is to be written, to a place of their own,
 * which the one before still has what is written now. */
static const uint8_t *
cut_tail(struct committer *committer, size_t len)
{
	uint8_t *tail = committer->tails[committer->tail++ % 2];
	size_t left = len;

	while (left > 0) {
		struct iovec *last = &committer->iov[committer->iov_count - 1];
		size_t part = last->iov_len < left ? last->iov_len : left;

		last->iov_len -= part;
		left -= part;
		memcpy(tail + left, (uint8_t *)last->iov_base + last->iov_len,
		       part);
		if (last->iov_len == 0)
			committer->iov_count--;
	}
	committer->unwritten -= len;
	return tail;
}

/*
 * Writes what is there of the batch, but not the first block, which holds
 * its header. Whole blocks only: what is not in the page cache would have to
 * be read for half a one.
 */
static int
write_ahead(struct committer *committer, struct batch *batch)
{
	uint64_t at = committer->offset + FORMAT_BLOCK + batch->written;
	size_t left = committer->unwritten % FORMAT_BLOCK;
	size_t len = committer->unwritten - left;
	const uint8_t *tail;
	int rc;

	if (len == 0)
		return 0;
	tail = cut_tail(committer, left);
	rc = disk_writev(batch->segment->fd, committer->iov + 1,
			 committer->iov_count - 1, at);
	if (rc == 0)
		disk_start_write(batch->segment->fd, at, len);
	batch->written += (uint32_t)len;
	committer->iov_count = 1;
	committer->unwritten = 0;
	if (left != 0)
		add_iov(committer, tail, left);
	return rc;
}

/*
 * Writes what is left of the batch, and its header: until then nothing of it
 * counts. What was not begun before is one write.
 */
static int
write_rest(struct committer *committer, struct batch *batch)
{
	struct batch_head head = {
		.bytes = batch_bytes(batch->bytes),
		.used = BATCH_HEADER + batch->bytes,
		.records = batch->records,
		.tag = committer->tag,
		.segno = batch->segment->segno,
		.seq = batch->seq,
		.head = batch->head,
		.ids = batch->ids,
	};
	size_t padding = -committer->unwritten % FORMAT_BLOCK;
	int fd = batch->segment->fd, rc;

	memset(committer->first + committer->first_len, 0,
	       FORMAT_BLOCK - committer->first_len);
	batch_encode(&head, committer->first);
	if (padding != 0)
		add_iov(committer, zeros, padding);
	if (batch->written == 0)
		return disk_writev(fd, committer->iov, committer->iov_count,
				   committer->offset);
	rc = disk_writev(fd, committer->iov + 1, committer->iov_count - 1,
			 committer->offset + FORMAT_BLOCK + batch->written);
	if (rc == 0)
		rc = disk_write(fd, committer->first, FORMAT_BLOCK,
				committer->offset);
	return rc;
}

static int
write_parcels(struct committer *committer, struct batch *batch,
	      struct list *parcels, bool is_last)
{
	struct list *node;

	if (batch->segment == NULL) {
		batch->segment = committer->current;
		committer->iov_count = 0;
		add_iov(committer, committer->first, FORMAT_BLOCK);
		committer->first_len = BATCH_HEADER;
		committer->unwritten = 0; /* behind the first block */
	}
	for (node = list_pop(parcels); node != NULL; node = list_pop(parcels))
		add_parcel(committer, batch,
			   container_of(node, struct parcel, link));
	return is_last ? write_rest(committer, batch)
		       : write_ahead(committer, batch);
}

/*
 * Writes parcels of the batch to the current segment; with the last ones it
 * is complete, and is synced.
 *
 * I1: status 0 is given only after fdatasync returned 0. I5: when anything
 * failed, the segment is never written again and the next batch has the same
 * seq in a later segment, by which recovery knows this one to be void. Only
 * a write that found no room leaves the segment usable: no sync was asked
 * for, and the next batch overwrites the same place.
 */
static void
batch_write(struct committer *committer, struct batch *batch,
	    struct list *parcels, bool is_last)
{
	bool is_synced = false;

	if (MUTANT(SYNCED_TOO_EARLY) && is_last && batch->written != 0)
		is_synced = disk_datasync(batch->segment->fd) == 0;
	batch->status = write_parcels(committer, batch, parcels, is_last);
	if (batch->status == -ENOSPC || batch->status == -EDQUOT)
		return;
	if (batch->status == 0 && !is_last)
		return;
	if (batch->status == 0 && !MUTANT(BATCH_UNSYNCED) && !is_synced)
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
	committer->offset += batch_bytes(batch->bytes);
	batch->end = committer->offset;
	committer->seq++;
	committer->stamped = batch->head;
}

/* ------------------------------------------------------------ the thread */

/*
 * Each segment keeps one block back, so that a batch that only moves head can
 * be written when there is no other segment, and thereby make one free; and
 * as long as there is no other, a part for DONE records alone, without which
 * head could not move. The first parcel of a segment may be larger.
 */
static uint32_t
room(const struct committer *committer, bool is_more, bool is_first)
{
	uint32_t kept = committer->is_last ? 0 : FORMAT_BLOCK, left;

	if (committer->current == NULL)
		return 0;
	if (is_more && kept != 0 && committer->free_count == 0 &&
	    (committer->offset != 0 || !is_first))
		kept += committer->current->bytes / COMMIT_DONE_PART;
	left = committer->current->bytes - committer->offset;
	return left > kept ? left - kept : 0;
}

static void
want_nothing(struct committer *committer)
{
	committer->wanted = 0;
	committer->is_stranded = committer->is_giving_up = false;
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
		want_nothing(committer);
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
	committer->is_more_coming = true;
	(void)uv_async_send(committer->notify); /* fails only for NULL */
}

/* With the lock held; gives it up while the disk works. */
static void
write_unlocked(struct committer *committer, struct batch *batch,
	       struct list *parcels, bool is_last)
{
	uint64_t began;

	batch->ids = committer->ids;
	batch->head = committer->head;
	if (batch->head > committer->current->segno)
		batch->head = committer->current->segno;
	pthread_mutex_unlock(&committer->lock);
	began = uv_hrtime();
	batch_write(committer, batch, parcels, is_last);
	if (is_last && batch->status == 0)
		committer->commit_ns =
			(7 * committer->commit_ns + (uv_hrtime() - began)) / 8;
	pthread_mutex_lock(&committer->lock);
	if (committer->failures >= 2)
		committer->is_broken = true;
}

/* all: also what has only DONE records, which there may be room for. */
static void
fail_queue(struct committer *committer, int status, bool all)
{
	struct batch *batch = batch_new(committer);
	struct list *node, *after;

	committer->wanted = 0;
	list_each_safe (node, after, &committer->queue) {
		if (!all && !container_of(node, struct parcel, link)->is_more)
			continue;
		list_remove(node);
		list_push(&batch->parcels, node);
	}
	batch->status = status;
	give_back(committer, batch);
}

/* Nothing free: says what is wanted, moves head if that can help, waits. */
static void
wait_for_segment(struct committer *committer, uint32_t need, bool is_more)
{
	struct segment *current = committer->current;

	if (current != NULL && committer->head > committer->stamped &&
	    current->bytes - committer->offset >= FORMAT_BLOCK) {
		struct batch *batch = batch_new(committer);
		struct list none;

		list_init(&none);
		write_unlocked(committer, batch, &none, true);
		give_back(committer, batch);
		/* what it lets go may help: the loop says it once more */
		committer->is_giving_up = false;
		return;
	}
	if (committer->is_giving_up) {
		committer->is_giving_up = false;
		fail_queue(committer, -ENOSPC, !is_more);
		return;
	}
	if (committer->wanted == 0)
		(void)uv_async_send(committer->notify); /* cannot fail */
	committer->wanted = need + FORMAT_BLOCK;
	committer->is_stranded =
		current == NULL ||
		current->bytes - committer->offset < FORMAT_BLOCK;
	pthread_cond_wait(&committer->wake, &committer->lock);
}

/*
 * Takes the parcels that fit behind what the batch has; the first one always
 * does. Returns false when one has to stay.
 */
static bool
collect(struct committer *committer, const struct batch *batch,
	struct list *parcels)
{
	bool is_first = list_is_empty(&batch->parcels);
	size_t bytes = batch->bytes;

	while (!list_is_empty(&committer->queue)) {
		struct list *node = committer->queue.next;
		struct parcel *parcel = container_of(node, struct parcel, link);

		if (!is_first &&
		    (bytes + parcel->bytes > BATCH_MAX ||
		     batch_bytes(bytes + parcel->bytes) >
			     room(committer, parcel->is_more, false)))
			return false;
		is_first = false;
		bytes += parcel->bytes;
		list_remove(node);
		list_push(parcels, node);
	}
	return true;
}

/* Until more was given, the turn is over, or it took too long. */
static void
wait_for_more(struct committer *committer, uint64_t until_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(until_ns / 1000000000u),
		.tv_nsec = (long)(until_ns % 1000000000u),
	};

	committer->is_waiting = true;
	while (list_is_empty(&committer->queue) && committer->is_more_coming &&
	       !committer->is_stopping && uv_hrtime() < until_ns)
		(void)pthread_cond_timedwait(&committer->wake, &committer->lock,
					     &until); /* the clock decides */
	committer->is_waiting = false;
}

/*
 * One batch: what waits, and what the turn of the loop still brings that goes
 * on now, or that the end of the last batch begins. Its parcels are written
 * as they come, beside the loop, so that little but the sync is left when
 * the turn ends; and those whose batch just ended share a sync with those
 * that waited, instead of taking turns with them. A turn may be long: it is
 * waited for no longer than a commit takes.
 */
static void
write_batch(struct committer *committer)
{
	struct batch *batch = batch_new(committer);
	uint64_t until_ns = uv_hrtime() + committer->commit_ns;
	bool is_last;

	do {
		struct list parcels;

		list_init(&parcels);
		is_last = !collect(committer, batch, &parcels) ||
			  !committer->is_more_coming ||
			  committer->is_stopping || uv_hrtime() >= until_ns;
		write_unlocked(committer, batch, &parcels, is_last);
		is_last |= batch->status < 0;
		if (!is_last)
			wait_for_more(committer, until_ns);
	} while (!is_last);
	give_back(committer, batch);
}

static void *
run(void *arg)
{
	struct committer *committer = arg;

	pthread_mutex_lock(&committer->lock);
	while (true) {
		struct list *node = committer->queue.next;
		const struct parcel *parcel;
		uint32_t need;

		if (node == &committer->queue) {
			if (committer->is_stopping)
				break;
			pthread_cond_wait(&committer->wake, &committer->lock);
			continue;
		}
		if (committer->is_broken) {
			fail_queue(committer, -EIO, true);
			continue;
		}
		parcel = container_of(node, struct parcel, link);
		need = batch_bytes(parcel->bytes);
		if (need > room(committer, parcel->is_more, true) &&
		    !rotate(committer, need)) {
			wait_for_segment(committer, need, parcel->is_more);
			continue;
		}
		want_nothing(committer);
		write_batch(committer);
	}
	pthread_mutex_unlock(&committer->lock);
	return NULL;
}

/* ------------------------------------------------------------- from loop */

void
committer_init(struct committer *committer, uv_async_t *notify)
{
	pthread_condattr_t attr;

	*committer = (struct committer){.notify = notify,
					.seq = 1,
					.next_segno = 1,
					.head = 1,
					.commit_ns = FIRST_COMMIT_NS};
	pthread_mutex_init(&committer->lock, NULL);
	(void)pthread_condattr_init(&attr); /* neither can fail */
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&committer->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
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
committer_give(struct committer *committer, struct list *parcels,
	       bool is_more_coming)
{
	struct list *node, *after;

	pthread_mutex_lock(&committer->lock);
	list_each_safe (node, after, parcels) {
		list_remove(node);
		list_push(&committer->queue, node);
	}
	committer->is_more_coming = is_more_coming;
	if (!list_is_empty(&committer->queue) || committer->is_waiting)
		pthread_cond_signal(&committer->wake);
	pthread_mutex_unlock(&committer->lock);
}

void
committer_give_first(struct committer *committer, struct parcel *parcel)
{
	pthread_mutex_lock(&committer->lock);
	list_push_front(&committer->queue, &parcel->link);
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
		/* what waited behind them says anew what it wants */
		want_nothing(committer);
		pthread_cond_signal(&committer->wake);
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
	struct list none;

	if (!rotate(committer, FORMAT_BLOCK)) {
		free(batch);
		return -ENOSPC;
	}
	list_init(&none);
	batch->head = committer->head;
	batch->ids = committer->ids;
	batch_write(committer, batch, &none, true);
	*out = batch;
	return batch->status;
}
