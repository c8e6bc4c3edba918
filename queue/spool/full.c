/* SPDX-License-Identifier: ISC */
/*
 * How deliveries free a log that is full, when the disk has no room for
 * another segment nor for files.
 *
 * A part of the last segment is kept back for DONE records (commit.c). It has
 * room for those of all mail of the oldest segment, but a record each time a
 * delivery ends would take a block each. So DONE records wait here until they
 * settle the oldest segment, which head then passes, or fill a block of those
 * that are not needed for that.
 */
#include "queue/spool/internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

#define DONE_BYTES  ((size_t)RECORD_HEADER)
#define BLOCK_DONES ((FORMAT_BLOCK - BATCH_HEADER) / DONE_BYTES)

/* Blocks that the last segment has left, one for a head apart. */
static size_t
blocks_left(const struct spool *spool)
{
	const struct segment *last =
		container_of(spool->used.prev, struct segment, link);

	return last->bytes > spool->current_end + FORMAT_BLOCK
		       ? (last->bytes - spool->current_end) / FORMAT_BLOCK - 1
		       : 0;
}

static size_t
blocks_kept(const struct spool *spool)
{
	return container_of(spool->used.prev, struct segment, link)->bytes /
	       COMMIT_DONE_PART / FORMAT_BLOCK;
}

bool
full_is_scarce(const struct spool *spool)
{
	return spool->is_full && spool->free_count == 0 &&
	       spool->life == SPOOL_OPEN && !spool->is_broken &&
	       !list_is_empty(&spool->used) &&
	       spool->used.next->next != &spool->used &&
	       blocks_left(spool) <= 2 * blocks_kept(spool);
}

size_t
full_room(const struct spool *spool)
{
	return blocks_left(spool) * FORMAT_BLOCK / 2;
}

void
full_add(struct spool *spool, uint64_t id)
{
	if (spool->settled_count == spool->settled_size) {
		spool->settled_size = 2 * spool->settled_size + 64;
		spool->settled = mem_resize(spool->settled, spool->settled_size,
					    sizeof(*spool->settled));
	}
	spool->settled[spool->settled_count++] = id;
	spool->has_settled = true;
}

static void
add_done(struct parcel *parcel, uint64_t id)
{
	struct record_head record = {.type = RECORD_DONE, .id = id};

	(void)parcel_add(parcel, &record, NULL, NULL);
}

static struct segment *
oldest_segment(const struct spool *spool)
{
	return container_of(spool->used.next, struct segment, link);
}

/* Nothing in it is owed to anybody, only not yet durably so. */
static bool
is_settled(const struct spool *spool, const struct segment *segment)
{
	uint32_t handle = segment->entries.first;

	while (handle != 0) {
		const struct entry *entry = index_at(&spool->index, handle);

		if ((entry->flags & ENTRY_DONE) == 0)
			return false;
		handle = entry->next;
	}
	return segment->entries.count != 0;
}

static void
settle_oldest(struct spool *spool, struct parcel *parcel)
{
	const struct segment *oldest = oldest_segment(spool);
	uint32_t handle = oldest->entries.first;
	size_t kept = 0;

	for (; handle != 0; handle = index_at(&spool->index, handle)->next)
		add_done(parcel, index_at(&spool->index, handle)->id);
	for (size_t i = 0; i < spool->settled_count; i++) {
		handle = index_find(&spool->index, spool->settled[i]);
		if (handle == 0 ||
		    index_at(&spool->index, handle)->slot != oldest->slot)
			spool->settled[kept++] = spool->settled[i];
	}
	spool->settled_count = kept;
}

static void
settle_first(struct spool *spool, struct parcel *parcel, size_t count)
{
	for (size_t i = 0; i < count; i++)
		add_done(parcel, spool->settled[i]);
	spool->settled_count -= count;
	memmove(spool->settled, spool->settled + count,
		spool->settled_count * sizeof(*spool->settled));
}

/* Elsewhere than in settled there may be DONE records of a group, which are
 * good for nothing without the rest of it. */
static bool
is_alone(const struct spool *spool)
{
	return spool->in_flight == 0 && list_is_empty(&spool->ready) &&
	       spool->filling->item_count == 0;
}

void
full_give(struct spool *spool)
{
	bool is_scarce = full_is_scarce(spool);
	struct parcel *parcel;

	if (spool->settled_count == 0 || (is_scarce && !is_alone(spool)))
		return;
	spool->has_settled = false;
	parcel = parcel_new();
	if (!is_scarce)
		settle_first(spool, parcel, spool->settled_count);
	else if (is_settled(spool, oldest_segment(spool)))
		settle_oldest(spool, parcel);
	else if (spool->settled_count >= BLOCK_DONES &&
		 blocks_left(spool) >
			 oldest_segment(spool)->entries.count / BLOCK_DONES + 1)
		settle_first(spool, parcel, BLOCK_DONES);
	if (parcel->item_count == 0)
		parcel_free(parcel);
	else
		list_push(&spool->ready, &parcel->link);
}
